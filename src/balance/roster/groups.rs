//! Endpoints that say the same. In a fleet that is a few deployments those are most, so that a table looks at what is
//! said a few times for each model, and not once for each endpoint.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Known;
use super::census::{Census, Told};
use super::mergeable::Mergeable;
use super::station::Seen;
use crate::infer::{ModelName, Version};

/// Endpoints, by address, ascending, and what each of them says.
pub(super) struct Group {
    pub(super) census: Arc<Census>,
    pub(super) endpoints: Vec<Arc<Seen>>,
}

/// An endpoint, and what it says of a model.
pub(super) struct Entry<'a> {
    pub(super) seen: &'a Arc<Seen>,
    pub(super) told: &'a [Told],
}

impl Group {
    /// What its endpoints say of a model.
    pub(super) fn told(&self, name: &ModelName) -> &[Told] {
        self.census.models.get(name).map_or(&[], Vec::as_slice)
    }

    fn is(&self, other: &Group) -> bool {
        Arc::ptr_eq(&self.census, &other.census) && alike(&self.endpoints, &other.endpoints)
    }
}

/// Whether they are the same, and not only equal.
pub(super) fn alike<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Groups of those, which are by address. Those that were so `before` are the same as then.
pub(super) fn grouped(seen: Vec<(Arc<Seen>, Arc<Census>)>, before: &[Arc<Group>]) -> Vec<Arc<Group>> {
    let mut places: HashMap<*const Census, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (seen, census) in seen {
        let place = *places.entry(Arc::as_ptr(&census)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.endpoints.push(seen),
            None => groups.push(Group { census, endpoints: vec![seen] }),
        }
    }
    let known: HashMap<*const Census, &Arc<Group>> =
        before.iter().map(|group| (Arc::as_ptr(&group.census), group)).collect();
    let kept = |group: Group| match known.get(&Arc::as_ptr(&group.census)) {
        Some(known) if known.is(&group) => Arc::clone(known),
        _ => Arc::new(group),
    };
    groups.into_iter().map(kept).collect()
}

/// Whoever says something of a model, by address.
pub(super) fn entries<'a>(name: &ModelName, groups: &'a [Arc<Group>]) -> Vec<Entry<'a>> {
    let mut entries = Vec::with_capacity(groups.iter().map(|group| group.endpoints.len()).sum());
    for group in groups {
        let told = group.told(name);
        entries.extend(group.endpoints.iter().map(|seen| Entry { seen, told }));
    }
    if groups.len() > 1 {
        entries.sort_by_key(|entry| entry.seen.backend.address);
    }
    entries
}

/// Whether the same endpoints say the same of a model.
pub(super) fn say_the_same(one: &[Entry<'_>], other: &[Entry<'_>]) -> bool {
    // Most are of the same few groups.
    let told = |one: &[Told], other: &[Told]| std::ptr::eq(one, other) || one == other;
    let same = |(one, other): (&Entry<'_>, &Entry<'_>)| Arc::ptr_eq(one.seen, other.seen) && told(one.told, other.told);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// Whether that is ready, or where no version is wanted, anything of it.
pub(super) fn serves(told: &[Told], wanted: Option<Version>) -> bool {
    told.iter().any(|told| told.ready && (wanted.is_none() || told.version == wanted))
}

/// What is said of each version of a model, by whoever says the best of it. It has a nature where all that have it ready
/// say the same.
pub(super) fn merged(name: &ModelName, groups: &[Arc<Group>]) -> Vec<Told> {
    let mut merged: BTreeMap<Option<Version>, Told> = BTreeMap::new();
    for told in groups.iter().flat_map(|group| group.told(name)) {
        let known = merged.entry(told.version).or_insert_with(|| told.clone());
        match (told.ready, known.ready) {
            (true, false) => *known = told.clone(),
            (true, true) if told.nature != known.nature => known.nature = None,
            _ => {}
        }
    }
    merged.into_values().collect()
}

/// What holds of a model wherever it is ready. Who says nothing of its nature, and has no number for it either, is taken
/// to be like those that do; one that has not said yet what its number stands for may be of any.
pub(super) fn known(name: &ModelName, groups: &[Arc<Group>]) -> Known {
    let ready = || groups.iter().flat_map(|group| group.told(name)).filter(|told| told.ready);
    let pure = |told: &Told| match &told.said {
        Some(said) => said.pure,
        None => told.nature.map(|_| false),
    };
    Known {
        pure: ready().filter_map(pure).min(),
        largest: ready().filter_map(|told| told.said.as_ref()?.largest).min(),
    }
}

/// How calls of a version are put together, or where none is wanted those of the last version that each has ready; told
/// only where all that have it ready say the same.
pub(super) fn mergeable(name: &ModelName, wanted: Option<Version>, groups: &[Arc<Group>]) -> Option<Arc<Mergeable>> {
    let mut agreed: Option<&Arc<Mergeable>> = None;
    for group in groups {
        let ready = group.told(name).iter().filter(|told| told.ready && (wanted.is_none() || told.version == wanted));
        let Some(told) = ready.max_by_key(|told| told.version) else { continue };
        let mergeable = told.said.as_ref()?.mergeable.as_ref()?;
        if agreed.is_some_and(|agreed| agreed != mergeable) {
            return None;
        }
        agreed = Some(mergeable);
    }
    agreed.cloned()
}
