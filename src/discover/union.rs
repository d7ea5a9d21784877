//! Several sources as one set. Pure: it keeps what each said last and puts it together.

use super::Backends;

/// What each source said last.
#[derive(Debug)]
pub struct Union {
    parts: Vec<Option<Backends>>,
    /// Known from before, kept until every source has answered once: nobody can say which source it came from.
    remembered: Backends,
}

impl Union {
    /// Of so many sources, none of which has answered.
    pub fn new(sources: usize, remembered: Backends) -> Union {
        Union { parts: vec![None; sources], remembered }
    }

    /// A source says all that it knows. Returns what all of them know; where two know the same address, the earlier
    /// source says what it is.
    pub fn told(&mut self, source: usize, part: Backends) -> Backends {
        self.parts[source] = Some(part);
        if self.parts.iter().all(Option::is_some) {
            self.remembered = Backends::default();
        }
        if let [Some(only)] = self.parts.as_slice() {
            return only.clone();
        }
        let parts = self.parts.iter().rev().flatten().flatten();
        self.remembered.iter().chain(parts).cloned().collect::<Backends>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Backend;
    use super::*;

    fn named(name: &'static str, ports: &[u16]) -> Backends {
        let backend = |port: &u16| Backend { name: name.into(), ..Backend::at(([10, 0, 0, 1], *port).into()) };
        ports.iter().map(backend).collect()
    }

    fn names(set: &Backends) -> Vec<(u16, &str)> {
        set.iter().map(|backend| (backend.address.port(), &*backend.name)).collect()
    }

    #[test]
    fn each_source_replaces_its_own_part_and_no_other() {
        let mut union = Union::new(2, Backends::default());
        union.told(0, named("a", &[1, 2]));
        assert_eq!(names(&union.told(1, named("b", &[3]))), [(1, "a"), (2, "a"), (3, "b")]);
        assert_eq!(names(&union.told(0, named("a", &[2]))), [(2, "a"), (3, "b")]);
        assert_eq!(names(&union.told(1, named("b", &[]))), [(2, "a")]);
    }

    #[test]
    fn of_two_sources_that_know_an_address_the_earlier_one_says_what_it_is() {
        let mut union = Union::new(2, Backends::default());
        union.told(1, named("b", &[1]));
        assert_eq!(names(&union.told(0, named("a", &[1]))), [(1, "a")]);
    }

    #[test]
    fn what_was_remembered_stays_until_every_source_has_answered() {
        let mut union = Union::new(2, named("old", &[1, 2]));
        assert_eq!(names(&union.told(0, named("a", &[1]))), [(1, "a"), (2, "old")]);
        assert_eq!(names(&union.told(1, named("b", &[3]))), [(1, "a"), (3, "b")]);
    }
}
