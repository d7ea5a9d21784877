//! NumPy's files: `.npy` holds one array, `.npz` several by name.
//!
//! What comes out is the file's own type; see [`widen`](super::widen) for what becomes of it. Files of
//! ml_dtypes.bfloat16, which NumPy knows as two bytes without a meaning, are BF16.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::{Endianness, NpyFile, Order, TypeChar, TypeStr};

use super::array::{Array, Elements};
use crate::error::{Error, Result};
use crate::tensor::{DType, strings};

/// The array of an `.npy` file.
///
/// # Errors
/// `Invalid` where the file cannot be read or its type has no equal in the protocol.
pub fn open_npy(path: &Path) -> Result<Array> {
    let file = File::open(path).map_err(unreadable)?;
    read(NpyFile::new(BufReader::new(file)).map_err(unreadable)?)
}

/// The arrays of an `.npz` file by name, or only the one called `member`.
///
/// # Errors
/// As [`open_npy`], and where there is no such member.
pub fn open_npz(path: &Path, member: Option<&str>) -> Result<Vec<(String, Array)>> {
    let mut archive = NpzArchive::open(path).map_err(unreadable)?;
    let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    if let Some(member) = member {
        if !names.iter().any(|name| name == member) {
            return Err(Error::invalid(format!("no array {member:?}, only {}", names.join(", "))));
        }
        names = vec![member.to_owned()];
    }
    names
        .into_iter()
        .map(|name| {
            let blamed = |error: Error| error.within(format_args!("array {name:?}"));
            let file = archive.by_name(&name).map_err(unreadable).map_err(blamed)?;
            let array = read(file.ok_or_else(|| Error::invalid(format!("no array {name:?}")))?).map_err(blamed)?;
            Ok((name, array))
        })
        .collect()
}

fn unreadable(error: std::io::Error) -> Error {
    Error::invalid(format!("it cannot be read: {error}"))
}

fn read(file: NpyFile<impl Read>) -> Result<Array> {
    let npyz::DType::Plain(source) = file.dtype() else {
        return Err(Error::invalid("a structured array is no tensor: save its fields one by one"));
    };
    let (shape, order) = (file.shape().to_vec(), file.order());
    let records = records(&source, &shape, file.into_inner())?;
    let size = source.num_bytes().unwrap_or(0);
    let records = match order {
        Order::C => records,
        Order::Fortran => row_major(&records, size, &shape),
    };
    let (dtype, raw) = elements(&source, size, records)?;
    // They were multiplied without an overflow, and there were as many bytes.
    Ok(Array { dims: shape.iter().map(|dim| *dim as i64).collect(), elements: Elements::Typed(dtype, raw) })
}

/// The bytes behind the header, as many as the shape says.
fn records(source: &TypeStr, shape: &[u64], data: impl Read) -> Result<Vec<u8>> {
    let size = source.num_bytes().ok_or_else(|| Error::invalid(without_equal(source)))?;
    let count = shape.iter().try_fold(size as u64, |product, dim| product.checked_mul(*dim));
    let expected = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count < usize::MAX);
    let expected = expected.ok_or_else(|| Error::invalid("its shape overflows"))?;
    let mut records = Vec::new();
    data.take(expected as u64 + 1).read_to_end(&mut records).map_err(unreadable)?;
    if records.len() != expected {
        let got = if records.len() > expected { "more".to_owned() } else { records.len().to_string() };
        return Err(Error::invalid(format!("its shape takes {expected} bytes, the file has {got}")));
    }
    Ok(records)
}

/// Records in column-major order put into row-major order.
fn row_major(records: &[u8], size: usize, shape: &[u64]) -> Vec<u8> {
    let dims: Vec<usize> = shape.iter().map(|dim| *dim as usize).collect();
    let mut strides = Vec::with_capacity(dims.len());
    let mut stride = size;
    for dim in &dims {
        strides.push(stride);
        stride *= dim;
    }
    let mut ordered = Vec::with_capacity(records.len());
    let mut index = vec![0; dims.len()];
    while ordered.len() < records.len() {
        let offset: usize = index.iter().zip(&strides).map(|(at, stride)| at * stride).sum();
        ordered.extend_from_slice(&records[offset..offset + size]);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    ordered
}

/// The protocol's type of a file's elements, and their raw form.
fn elements(source: &TypeStr, size: usize, mut records: Vec<u8>) -> Result<(DType, Vec<u8>)> {
    let big = source.endianness() == Endianness::Big;
    let dtype = match (source.type_char(), size) {
        (TypeChar::ByteStr, _) => return Ok((DType::Bytes, byte_strings(&records, size)?)),
        (TypeChar::UnicodeStr, _) => return Ok((DType::Bytes, unicode_strings(&records, size, big)?)),
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Int, 1) => DType::Int8,
        (TypeChar::Int, 2) => DType::Int16,
        (TypeChar::Int, 4) => DType::Int32,
        (TypeChar::Int, 8) => DType::Int64,
        (TypeChar::Uint, 1) => DType::Uint8,
        (TypeChar::Uint, 2) => DType::Uint16,
        (TypeChar::Uint, 4) => DType::Uint32,
        (TypeChar::Uint, 8) => DType::Uint64,
        (TypeChar::Float, 2) => DType::Fp16,
        (TypeChar::Float, 4) => DType::Fp32,
        (TypeChar::Float, 8) => DType::Fp64,
        (TypeChar::RawData, 2) => DType::Bf16,
        _ => return Err(Error::invalid(without_equal(source))),
    };
    if big {
        records.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    Ok((dtype, records))
}

fn without_equal(source: &TypeStr) -> String {
    match source.type_char() {
        TypeChar::Object => "it holds Python objects: save strings with .astype(numpy.bytes_)".into(),
        _ => format!("its type {source} has no equal in the protocol"),
    }
}

/// NumPy pads strings with NULs to the length of the longest.
fn byte_strings(records: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    for record in records.chunks_exact(size.max(1)) {
        let end = record.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        strings::push(&mut raw, &record[..end])?;
    }
    Ok(raw)
}

fn unicode_strings(records: &[u8], size: usize, big: bool) -> Result<Vec<u8>> {
    let point = |bytes: &[u8]| {
        let bytes = bytes.try_into().expect("a code point has four bytes");
        let point = if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        char::from_u32(point)
            .ok_or_else(|| Error::invalid(format!("a string has U+{point:04X}, which is no character")))
    };
    let mut raw = Vec::new();
    for record in records.chunks_exact(size.max(1)) {
        let text: String = record.chunks_exact(4).map(point).collect::<Result<_>>()?;
        strings::push(&mut raw, text.trim_end_matches('\0').as_bytes())?;
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as NumPy writes it.
    fn file(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
        header.push('\n');
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    fn array(file: &[u8]) -> Result<Array, String> {
        NpyFile::new(file).map_err(unreadable).and_then(read).map_err(|error| error.to_string())
    }

    fn typed(descr: &str, shape: &str, data: &[u8]) -> Result<(DType, Vec<u8>), String> {
        match array(&file(descr, false, shape, data))?.elements {
            Elements::Typed(dtype, raw) => Ok((dtype, raw)),
            Elements::Literal(values) => panic!("{values:?}"),
        }
    }

    #[test]
    fn every_plain_type_has_its_equal() {
        for (descr, dtype) in [
            ("|b1", DType::Bool),
            ("|i1", DType::Int8),
            ("<i2", DType::Int16),
            ("<i4", DType::Int32),
            ("<i8", DType::Int64),
            ("|u1", DType::Uint8),
            ("<u2", DType::Uint16),
            ("<u4", DType::Uint32),
            ("<u8", DType::Uint64),
            ("<f2", DType::Fp16),
            ("<f4", DType::Fp32),
            ("<f8", DType::Fp64),
            ("|V2", DType::Bf16),
        ] {
            let raw = vec![1; 2 * dtype.size().unwrap()];
            assert_eq!(typed(descr, "(2,)", &raw), Ok((dtype, raw)), "{descr}");
        }
    }

    #[test]
    fn big_endian_numbers_are_turned_around() {
        assert_eq!(typed(">i4", "(2,)", &[0, 0, 0, 1, 0, 0, 0, 2]), Ok((DType::Int32, vec![1, 0, 0, 0, 2, 0, 0, 0])));
    }

    #[test]
    fn column_major_arrays_become_row_major() {
        // [[1, 2, 3], [4, 5, 6]]
        let array = array(&file("|u1", true, "(2, 3)", &[1, 4, 2, 5, 3, 6])).unwrap();
        assert_eq!(array.dims, [2, 3]);
        assert_eq!(array.elements, Elements::Typed(DType::Uint8, vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn scalars_and_empty_arrays_are_read() {
        assert_eq!(typed("|u1", "()", &[7]), Ok((DType::Uint8, vec![7])));
        assert_eq!(typed("<f4", "(0, 3)", &[]), Ok((DType::Fp32, vec![])));
        assert_eq!(array(&file("<f4", true, "(0, 3)", &[])).unwrap().dims, [0, 3]);
    }

    #[test]
    fn strings_lose_their_padding_and_become_utf8() {
        assert_eq!(typed("|S3", "(2,)", b"a\0bcd\0"), Ok((DType::Bytes, b"\x03\0\0\0a\0b\x02\0\0\0cd".to_vec())));
        let points: Vec<u8> = [0xe9u32, 0, 0x61, 0x62].iter().flat_map(|point| point.to_le_bytes()).collect();
        let raw = b"\x02\0\0\0\xc3\xa9\x02\0\0\0ab".to_vec();
        assert_eq!(typed("<U2", "(2,)", &points), Ok((DType::Bytes, raw.clone())));
        let points: Vec<u8> = [0xe9u32, 0, 0x61, 0x62].iter().flat_map(|point| point.to_be_bytes()).collect();
        assert_eq!(typed(">U2", "(2,)", &points), Ok((DType::Bytes, raw)));
    }

    #[test]
    fn what_has_no_equal_says_why() {
        let refused = |descr, data: &[u8]| typed(descr, "(1,)", data).unwrap_err();
        assert!(refused("|O", &[]).starts_with("it holds Python objects"), "{}", refused("|O", &[]));
        assert_eq!(refused("<c8", &[0; 8]), "its type <c8 has no equal in the protocol");
        assert_eq!(refused("<U1", &[0, 0xd8, 0, 0]), "a string has U+D800, which is no character");
    }

    #[test]
    fn a_file_that_is_cut_or_too_long_is_refused() {
        assert_eq!(typed("<f4", "(2,)", &[0; 7]), Err("its shape takes 8 bytes, the file has 7".into()));
        assert_eq!(typed("<f4", "(2,)", &[0; 9]), Err("its shape takes 8 bytes, the file has more".into()));
        assert!(array(b"\x93NUMPY").unwrap_err().starts_with("it cannot be read"));
        assert!(array(b"not an array").unwrap_err().starts_with("it cannot be read"));
    }

    #[test]
    fn arrays_of_an_archive_are_found_by_name() {
        use std::io::Write;

        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut archive = npyz::npz::NpzWriter::create(&path).unwrap();
        for (name, value) in [("a", 1), ("b", 2)] {
            archive.zip_writer().start_file(format!("{name}.npy"), Default::default()).unwrap();
            archive.zip_writer().write_all(&file("|u1", false, "(1,)", &[value])).unwrap();
        }
        drop(archive);
        let array = |value| Array { dims: vec![1], elements: Elements::Typed(DType::Uint8, vec![value]) };
        let mut all = open_npz(&path, None).unwrap();
        all.sort_by(|(left, _), (right, _)| left.cmp(right));
        assert_eq!(all, [("a".to_owned(), array(1)), ("b".to_owned(), array(2))]);
        assert_eq!(open_npz(&path, Some("b")).unwrap(), [("b".to_owned(), array(2))]);
        assert!(open_npz(&path, Some("c")).unwrap_err().message().starts_with("no array \"c\", only "));
    }
}
