//! `tracestate` and `baggage`: lists that are passed on as they came, within bounds.

use http::{HeaderMap, HeaderName, HeaderValue};

/// How long a list may be, and how many members it may have. One that is over is left out whole, since a part of it may
/// mean something else.
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) members: usize,
}

/// What the W3C asks to be passed on at least, and at most.
pub(super) const STATE: Bounds = Bounds { bytes: 512, members: 32 };
/// The same of baggage, of which 64 members are asked for.
pub(super) const BAGGAGE: Bounds = Bounds { bytes: 8192, members: 64 };

/// The list under this name, put together where it came in several headers; `None` where there is none or it is over.
pub(super) fn read(headers: &HeaderMap, name: &HeaderName, bounds: &Bounds) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let whole = match values.next() {
        None => first.clone(),
        Some(second) => joined([first, second].into_iter().chain(values), bounds)?,
    };
    let members = whole.as_bytes().split(|byte| *byte == b',').filter(|member| !member.trim_ascii().is_empty());
    let fits = whole.len() <= bounds.bytes && (1..=bounds.members).contains(&members.count());
    fits.then_some(whole)
}

fn joined<'a>(values: impl Iterator<Item = &'a HeaderValue>, bounds: &Bounds) -> Option<HeaderValue> {
    let mut whole = Vec::new();
    for value in values {
        if !whole.is_empty() {
            whole.push(b',');
        }
        whole.extend_from_slice(value.as_bytes());
        if whole.len() > bounds.bytes {
            return None;
        }
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(whole)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::trace::TRACESTATE;

    fn of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACESTATE, value.parse().unwrap());
        }
        let read = read(&headers, &TRACESTATE, &STATE);
        read.map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_list_is_passed_on_as_it_came_and_put_together_where_it_came_in_parts() {
        assert_eq!(of(&["a=1, b=2"]).as_deref(), Some("a=1, b=2"));
        assert_eq!(of(&["a=1", "b=2,c=3", "d=4"]).as_deref(), Some("a=1,b=2,c=3,d=4"));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[" , "]), None, "it has no member");
    }

    #[test]
    fn a_list_that_is_too_long_is_left_out() {
        let members = |count: usize| vec!["a=1"; count].join(",");
        assert_eq!(of(&[&members(32)]), Some(members(32)));
        assert_eq!(of(&[&members(33)]), None);
        assert_eq!(of(&[&format!("a={}", "x".repeat(510))]).map(|text| text.len()), Some(512));
        assert_eq!(of(&[&format!("a={}", "x".repeat(511))]), None);
        assert_eq!(of(&["a=1"; 200]), None);
    }

    proptest! {
        #[test]
        fn any_list_is_read_without_a_panic(values in prop::collection::vec("[ -~]{0,200}", 0..6)) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let read = of(&values);
            prop_assert!(read.is_none_or(|text| text.len() <= STATE.bytes));
        }
    }
}
