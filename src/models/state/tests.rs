//! Every step of a version, from every state that it can be in.

use std::collections::BTreeSet;

use super::*;
use crate::models::Settings;
use crate::models::fixture::{Scripted, plan, served, version};

const WHY: &str = "the graph is broken";

/// The states of versions, written for reading: `ready 1` with the load that it came from.
fn shown(model: &Model<Scripted>) -> Vec<String> {
    let state = |state: &State<Scripted>| match state {
        State::Loading => "loading".to_owned(),
        State::Ready { served, failure: None } => format!("ready {}", served.service().load),
        State::Ready { served, failure: Some(why) } => format!("ready {} but {why}", served.service().load),
        State::Broken(why) => format!("broken {why}"),
        State::Unloaded => "unloaded".to_owned(),
    };
    model.versions.iter().map(|(version, of)| format!("{version} {}", state(of))).collect()
}

fn states() -> Vec<State<Scripted>> {
    vec![
        State::Loading,
        State::Ready { served: served(1, 1), failure: None },
        State::Ready { served: served(1, 1), failure: Some(WHY.into()) },
        State::Broken(WHY.into()),
        State::Unloaded,
    ]
}

/// A model whose version 1 is in this state.
fn model(state: State<Scripted>) -> Model<Scripted> {
    Model { versions: BTreeMap::from([(version(1), state)]), labels: VersionLabels::default(), failure: None }
}

#[derive(Default)]
struct Wanted {
    load: Vec<u64>,
    keep: Vec<u64>,
    broken: Vec<u64>,
    there: Vec<u64>,
}

impl Wanted {
    fn work(&self) -> Work {
        let versions = |numbers: &[u64]| numbers.iter().map(|number| version(*number)).collect::<BTreeSet<_>>();
        Work {
            load: self.load.iter().map(|number| plan(*number, Settings::default())).collect(),
            broken: self.broken.iter().map(|number| (version(*number), WHY.into())).collect(),
            keep: versions(&self.keep),
            there: versions(&self.there),
            labels: serde_json::from_str("{\"stable\": 7}").unwrap(),
        }
    }
}

/// From each state of version 1, in the order of [`states`], to what comes out.
fn settled(wanted: &Wanted, outcomes: impl Fn() -> Vec<Outcome<Scripted>>) -> Vec<String> {
    let work = wanted.work();
    let settle = |state| shown(&model(state).settled(&work, outcomes()).0).join(", ");
    states().into_iter().map(settle).collect()
}

#[test]
fn what_is_to_be_loaded_is_loading_unless_it_serves() {
    let work = Wanted { load: vec![1, 2], there: vec![1, 2], ..Wanted::default() }.work();
    let begun: Vec<String> =
        states().into_iter().map(|state| shown(&Model::begun(Some(&model(state)), &work)).join(", ")).collect();
    assert_eq!(
        begun,
        [
            "1 loading, 2 loading",
            "1 ready 1, 2 loading",
            "1 ready 1 but the graph is broken, 2 loading",
            "1 loading, 2 loading",
            "1 loading, 2 loading"
        ]
    );
    assert_eq!(shown(&Model::begun(None, &work)), ["1 loading", "2 loading"]);
}

#[test]
fn a_loaded_version_takes_its_place_whatever_was_there() {
    let wanted = Wanted { load: vec![1], there: vec![1], ..Wanted::default() };
    assert_eq!(settled(&wanted, || vec![(version(1), Ok(served(1, 2)))]), ["1 ready 2"; 5]);
}

#[test]
fn a_version_that_failed_leaves_the_old_one_serving_with_the_reason() {
    let wanted = Wanted { load: vec![1], there: vec![1], ..Wanted::default() };
    let after_load = settled(&wanted, || vec![(version(1), Err("it blew up".into()))]);
    let (broken, ready) = ("1 broken it blew up", "1 ready 1 but it blew up");
    assert_eq!(after_load, [broken, ready, ready, broken, broken]);

    let without_file = settled(&Wanted { broken: vec![1], there: vec![1], ..Wanted::default() }, Vec::new);
    let (broken, ready) = ("1 broken the graph is broken", "1 ready 1 but the graph is broken");
    assert_eq!(without_file, [broken, ready, ready, broken, broken]);
}

#[test]
fn a_kept_version_serves_on_and_an_old_reason_is_forgotten() {
    let work = Wanted { keep: vec![1], there: vec![1], ..Wanted::default() }.work();
    for state in states().into_iter().filter(|state| state.served().is_some()) {
        let (next, retired) = model(state).settled(&work, Vec::new());
        assert_eq!(shown(&next), ["1 ready 1"]);
        assert!(retired.is_empty());
    }
}

#[test]
fn a_version_that_is_not_wanted_any_more_is_unloaded_once_the_rest_is_loaded() {
    let loaded = || vec![(version(2), Ok(served(2, 2)))];
    let on_disk = Wanted { load: vec![2], there: vec![1, 2], ..Wanted::default() };
    let (unloaded, gone) = ("1 unloaded, 2 ready 2", "2 ready 2");
    assert_eq!(settled(&on_disk, loaded), [gone, unloaded, unloaded, gone, unloaded]);

    let removed = Wanted { load: vec![2], there: vec![2], ..Wanted::default() };
    assert_eq!(settled(&removed, loaded), [gone; 5]);
}

#[test]
fn nothing_that_serves_is_taken_away_where_anything_failed() {
    let wanted = Wanted { load: vec![2], there: vec![2], ..Wanted::default() };
    let after = settled(&wanted, || vec![(version(2), Err("it blew up".into()))]);
    let alone = "2 broken it blew up";
    assert_eq!(
        after,
        [
            alone,
            "1 ready 1, 2 broken it blew up",
            "1 ready 1 but the graph is broken, 2 broken it blew up",
            alone,
            alone
        ]
    );
}

#[test]
fn only_what_no_longer_serves_is_retired() {
    let ready = || model(State::Ready { served: served(1, 1), failure: None });
    let retired = |wanted: Wanted, outcomes: Vec<Outcome<Scripted>>| -> Vec<u32> {
        let (_, retired) = ready().settled(&wanted.work(), outcomes);
        retired.iter().map(|served| served.service().load).collect()
    };
    let reload = || Wanted { load: vec![1], there: vec![1], ..Wanted::default() };
    assert_eq!(retired(reload(), vec![(version(1), Ok(served(1, 2)))]), [1]);
    assert_eq!(retired(reload(), vec![(version(1), Err(WHY.into()))]), [0u32; 0]);
    let other = Wanted { load: vec![2], there: vec![1, 2], ..Wanted::default() };
    assert_eq!(retired(other, vec![(version(2), Ok(served(2, 2)))]), [1]);
}

#[test]
fn labels_change_with_what_they_name() {
    let wanted = Wanted { load: vec![1], there: vec![1], ..Wanted::default() };
    let label = |state, outcome: Result<_, Reason>| {
        let (next, _) = model(state).settled(&wanted.work(), vec![(version(1), outcome)]);
        next.labels.get("stable").is_some()
    };
    let ready = || State::Ready { served: served(1, 1), failure: None };
    assert!(label(ready(), Ok(served(1, 2))));
    assert!(!label(ready(), Err(WHY.into())), "an old version serves under the old labels");
    assert!(label(State::Loading, Err(WHY.into())));
}

#[test]
fn a_load_that_came_to_no_version_leaves_what_serves() {
    let failed = |state| {
        let next = Model::failed(Some(&model(state)), WHY.into());
        (shown(&next).join(", "), next.is_ready())
    };
    let outcomes: Vec<(String, bool)> = states().into_iter().map(failed).collect();
    let nothing = || (String::new(), false);
    assert_eq!(
        outcomes,
        [
            nothing(),
            ("1 ready 1".into(), true),
            ("1 ready 1 but the graph is broken".into(), true),
            nothing(),
            nothing()
        ]
    );
}

#[test]
fn unloading_takes_every_version_out() {
    for state in states() {
        let serves = state.served().is_some();
        let (next, retired) = model(state).unloaded();
        assert_eq!(shown(&next), ["1 unloaded"]);
        assert_eq!(retired.len(), usize::from(serves));
        assert!(next.is_ready(), "nothing more is wanted of it");
    }
}

#[test]
fn a_model_is_ready_while_some_version_serves() {
    let ready: Vec<bool> = states().into_iter().map(|state| model(state).is_ready()).collect();
    assert_eq!(ready, [false, true, true, false, true]);
    let mut beside = model(State::Ready { served: served(1, 1), failure: None });
    for state in [State::Loading, State::Broken(WHY.into())] {
        beside.versions.insert(version(2), state);
        assert!(beside.is_ready());
    }
}

#[test]
fn a_long_reason_is_cut_between_letters() {
    let cut = reason(&"é".repeat(2000));
    assert!(cut.len() <= LONGEST_REASON && cut.chars().all(|letter| letter == 'é'));
}
