//! Which of a model's versions are served, and names for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytestring::ByteString;
use serde::de::{Error as _, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Setting;
use crate::infer::Version;

/// Which versions are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// So many of the highest.
    Latest(usize),
    /// Each that there is.
    All,
    /// Exactly these.
    Only(BTreeSet<Version>),
}

impl Policy {
    /// The versions to serve of those that there are. A version that is listed is wanted even where there is none, so
    /// that somebody is told.
    pub fn pick(&self, there: impl Iterator<Item = Version>) -> BTreeSet<Version> {
        let there: BTreeSet<Version> = there.collect();
        match self {
            Policy::Latest(count) => there.into_iter().rev().take(*count).collect(),
            Policy::All => there,
            Policy::Only(listed) => listed.clone(),
        }
    }

    fn parse(text: &str) -> Option<Policy> {
        match text.split_once(' ') {
            None if text == "latest" => Some(Policy::Latest(1)),
            None if text == "all" => Some(Policy::All),
            Some(("latest", count)) => count.parse().ok().filter(|count| *count > 0).map(Policy::Latest),
            _ => None,
        }
    }
}

impl Default for Policy {
    /// The highest.
    fn default() -> Policy {
        Policy::Latest(1)
    }
}

impl Setting for Policy {
    const ALLOWED: &'static str = "\"latest\", \"latest N\" with N of 1 or more, \"all\", or a list such as [1, 3]";
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Policy::Latest(1) => serializer.serialize_str("latest"),
            Policy::Latest(count) => serializer.collect_str(&format_args!("latest {count}")),
            Policy::All => serializer.serialize_str("all"),
            Policy::Only(listed) => serializer.collect_seq(listed.iter().map(|version| version.number())),
        }
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
        deserializer.deserialize_any(PolicyVisitor)
    }
}

struct PolicyVisitor;

impl<'de> Visitor<'de> for PolicyVisitor {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Policy::ALLOWED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Policy, E> {
        Policy::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut listed: A) -> Result<Policy, A::Error> {
        let mut versions = BTreeSet::new();
        while let Some(number) = listed.next_element()? {
            versions.insert(version(number)?);
        }
        if versions.is_empty() { Err(A::Error::invalid_length(0, &self)) } else { Ok(Policy::Only(versions)) }
    }
}

fn version<E: serde::de::Error>(number: u64) -> Result<Version, E> {
    Version::new(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &"a version"))
}

/// Names for versions, which a call may use instead of the number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionLabels(BTreeMap<ByteString, Version>);

impl VersionLabels {
    /// The longest label.
    const LONGEST: usize = 64;

    /// The version of that name.
    pub fn get(&self, label: &str) -> Option<Version> {
        self.0.get(label).copied()
    }

    /// Each with its version.
    pub fn iter(&self) -> impl Iterator<Item = (&ByteString, Version)> {
        self.0.iter().map(|(label, version)| (label, *version))
    }

    fn is_label(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(plain)
    }
}

impl Setting for VersionLabels {
    const ALLOWED: &'static str =
        "a table such as { stable = 3 }, each label of at most 64 letters, digits, '_' and '-', each value a version";
}

impl Serialize for VersionLabels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(label, version)| (label.to_string(), version.number())))
    }
}

impl<'de> Deserialize<'de> for VersionLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VersionLabels, D::Error> {
        let mut labels = BTreeMap::new();
        for (label, number) in BTreeMap::<String, u64>::deserialize(deserializer)? {
            if !VersionLabels::is_label(&label) {
                return Err(D::Error::invalid_value(Unexpected::Str(&label), &VersionLabels::ALLOWED));
            }
            labels.insert(label.into(), version(number)?);
        }
        Ok(VersionLabels(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(policy: &Policy, there: &[u64]) -> Vec<i64> {
        let there = there.iter().map(|number| Version::new(*number).unwrap());
        policy.pick(there).into_iter().map(Version::number).collect()
    }

    #[test]
    fn latest_is_by_number_and_not_by_text() {
        assert_eq!(pick(&Policy::Latest(1), &[9, 10, 2]), [10]);
        assert_eq!(pick(&Policy::Latest(2), &[9, 10, 2]), [9, 10]);
        assert_eq!(pick(&Policy::Latest(5), &[9, 10, 2]), [2, 9, 10]);
        assert_eq!(pick(&Policy::Latest(1), &[]), [0i64; 0]);
    }

    #[test]
    fn all_takes_all_and_a_list_takes_itself() {
        let listed = Policy::Only([1, 3].into_iter().filter_map(Version::new).collect());
        assert_eq!(pick(&Policy::All, &[3, 1, 2]), [1, 2, 3]);
        assert_eq!(pick(&listed, &[1, 2]), [1, 3]);
    }

    #[test]
    fn a_policy_is_a_word_a_word_with_a_number_or_a_list() {
        for (json, expected) in [
            ("\"latest\"", "\"latest\""),
            ("\"latest 1\"", "\"latest\""),
            ("\"latest 2\"", "\"latest 2\""),
            ("\"all\"", "\"all\""),
            ("[3, 1, 3]", "[1,3]"),
        ] {
            let policy: Policy = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&policy).unwrap(), expected);
        }
        for json in ["\"\"", "\"latest 0\"", "\"latest two\"", "\"newest\"", "[]", "[-1]", "[\"1\"]", "3", "\"all 3\""]
        {
            assert!(serde_json::from_str::<Policy>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_label_is_a_plain_word() {
        assert!(serde_json::from_str::<VersionLabels>("{\"stable\": 3, \"can-ary_2\": 4}").is_ok());
        for json in ["{\"\": 3}", "{\"a b\": 3}", "{\"stable\": -3}", "{\"stable\": \"3\"}", "[3]"] {
            assert!(serde_json::from_str::<VersionLabels>(json).is_err(), "{json}");
        }
    }
}
