//! Element types as ONNX Runtime numbers them. They are kept as numbers: a newer library may know more of them than
//! the enum that `ort` declares.

use ort::sys::ONNXTensorElementDataType as Element;

use crate::tensor::DType;

/// The element type of that number, where the protocols have it.
pub(super) fn dtype(element: i32) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| of(*dtype) as i32 == element)
}

/// What ONNX Runtime calls an element type.
pub(super) fn of(dtype: DType) -> Element {
    match dtype {
        DType::Bool => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DType::Uint8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DType::Uint16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DType::Uint32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DType::Uint64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DType::Int8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DType::Int16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DType::Int32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DType::Int64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DType::Fp16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DType::Bf16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DType::Fp32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DType::Fp64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DType::Bytes => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}

/// Name and cure of an element type that the protocols lack.
pub(super) fn foreign(element: i32) -> (String, &'static str) {
    let (name, cure) = match element {
        14 => ("COMPLEX64", "split them into real and imaginary parts in the model"),
        15 => ("COMPLEX128", "split them into real and imaginary parts in the model"),
        17 => ("FLOAT8E4M3FN", "cast to FP16 in the model"),
        18 => ("FLOAT8E4M3FNUZ", "cast to FP16 in the model"),
        19 => ("FLOAT8E5M2", "cast to FP16 in the model"),
        20 => ("FLOAT8E5M2FNUZ", "cast to FP16 in the model"),
        21 => ("UINT4", "cast to UINT8 in the model"),
        22 => ("INT4", "cast to INT8 in the model"),
        23 => ("FLOAT4E2M1", "cast to FP16 in the model"),
        24 => ("UINT2", "cast to UINT8 in the model"),
        25 => ("INT2", "cast to INT8 in the model"),
        26 => ("FLOAT8E8M0", "cast to FP32 in the model"),
        unknown => return (format!("number {unknown}"), "cast to another type in the model"),
    };
    (name.to_owned(), cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_protocols_leads_back_to_itself_and_no_other_is_known() {
        for of_protocols in DType::ALL {
            assert_eq!(dtype(of(of_protocols) as i32), Some(of_protocols));
        }
        for element in [0, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, -1] {
            assert_eq!(dtype(element), None, "{element}");
        }
        assert_eq!(foreign(Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4 as i32).0, "INT4");
        assert_eq!(foreign(27).0, "number 27");
    }
}
