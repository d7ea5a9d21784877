//! What calls and clients are told of a table.

use super::*;
use crate::models::fixture::{Scripted, served, target, version};

const WHY: &str = "the graph is broken";

fn ready(number: u64) -> State<Scripted> {
    State::Ready { served: served(number, number as u32), failure: None }
}

fn model(versions: Vec<(u64, State<Scripted>)>) -> Model<Scripted> {
    let versions = versions.into_iter().map(|(number, state)| (version(number), state)).collect();
    let labels = serde_json::from_str("{\"stable\": 1, \"next\": 2, \"lost\": 9}").unwrap();
    Model { versions, labels, failure: None }
}

fn table(model: Model<Scripted>) -> Table<Scripted> {
    Table::empty().with_new(&[("digits".parse().unwrap(), Arc::new(model))])
}

/// The version that serves, or the refusal.
fn resolve(table: &Table<Scripted>, text: &str) -> Result<i64, (Kind, String)> {
    let served = table.resolve(&target(text));
    served.map(|served| served.version.number()).map_err(|error| (error.kind(), error.to_string()))
}

#[test]
fn the_latest_is_the_highest_that_is_ready() {
    let table =
        table(model(vec![(9, ready(9)), (10, ready(10)), (11, State::Loading), (12, State::Broken(WHY.into()))]));
    assert_eq!(resolve(&table, "digits"), Ok(10));
    assert_eq!(resolve(&table, "digits/9"), Ok(9));
}

#[test]
fn a_label_means_its_version() {
    let table = table(model(vec![(1, ready(1)), (2, State::Loading)]));
    assert_eq!(resolve(&table, "digits@stable"), Ok(1));
    for (asked, kind, told) in [
        ("digits@next", Kind::NotReady, "model \"digits\" version label \"next\" (version 2) is not ready: loading"),
        ("digits@lost", Kind::UnknownModel, "model \"digits\" version label \"lost\" (version 9) is not known"),
        ("digits@none", Kind::UnknownModel, "model \"digits\" version label \"none\" is not known"),
    ] {
        assert_eq!(resolve(&table, asked), Err((kind, told.into())));
    }
}

#[test]
fn no_model_is_called_unknown_before_the_repository_was_looked_at() {
    let told = "model \"digits\" is not known yet: models are being looked for";
    assert_eq!(resolve(&Table::empty(), "digits"), Err((Kind::NotReady, told.into())));
    let told = "model \"digits\" is not known";
    assert_eq!(resolve(&Table::empty().with_new(&[]), "digits"), Err((Kind::UnknownModel, told.into())));
}

#[test]
fn what_is_unknown_and_what_is_not_ready_are_told_apart() {
    let table = table(model(vec![(1, State::Broken(WHY.into())), (2, State::Unloaded), (3, State::Loading)]));
    for (asked, kind, told) in [
        ("other", Kind::UnknownModel, "model \"other\" is not known"),
        ("digits/4", Kind::UnknownModel, "model \"digits\" version 4 is not known"),
        ("digits/1", Kind::NotReady, "model \"digits\" version 1 is not ready: the graph is broken"),
        ("digits/2", Kind::NotReady, "model \"digits\" version 2 is not ready: unloaded"),
        ("digits/3", Kind::NotReady, "model \"digits\" version 3 is not ready: loading"),
        ("digits", Kind::NotReady, "model \"digits\" (version 3) is not ready: loading"),
    ] {
        assert_eq!(resolve(&table, asked), Err((kind, told.into())));
    }
}

#[test]
fn a_model_that_is_broken_as_a_whole_is_known_but_not_ready() {
    let table = table(Model::failed(None, WHY.into()));
    for asked in ["digits", "digits/1", "digits@stable"] {
        let (kind, told) = resolve(&table, asked).unwrap_err();
        assert_eq!(kind, Kind::NotReady);
        assert!(told.ends_with("is not ready: the graph is broken"), "{told}");
    }
}

#[test]
fn the_index_has_every_version_sorted_with_its_reason() {
    let failure = Some(WHY.into());
    let many = model(vec![
        (10, State::Ready { served: served(10, 1), failure }),
        (9, ready(9)),
        (1, State::Broken(WHY.into())),
        (2, State::Unloaded),
        (3, State::Loading),
    ]);
    let table = table(many).with(&"a".parse().unwrap(), Arc::new(Model::failed(None, WHY.into())));
    let index: Vec<(String, Option<i64>, VersionState, String)> = table
        .index()
        .into_iter()
        .map(|line| (line.name.to_string(), line.version.map(Version::number), line.state, line.reason.to_string()))
        .collect();
    use VersionState::*;
    let digits = |number, state, reason: &str| ("digits".to_owned(), Some(number), state, reason.to_owned());
    assert_eq!(
        index,
        [
            ("a".to_owned(), None, Unavailable, WHY.to_owned()),
            digits(1, Unavailable, WHY),
            digits(2, Unavailable, "unloaded"),
            digits(3, Loading, "loading"),
            digits(9, Ready, ""),
            digits(10, Ready, "serves, but a later load failed: the graph is broken"),
        ]
    );
}

#[test]
fn the_whole_is_ready_once_it_was_looked_at_and_every_model_serves() {
    let name = |name: &str| name.parse::<ModelName>().unwrap();
    let empty: Table<Scripted> = Table::empty();
    assert!(!empty.is_ready());
    assert!(empty.with_new(&[]).is_ready());
    let one = empty.with_new(&[(name("a"), Arc::new(model(vec![(1, ready(1))])))]);
    assert!(one.is_ready());
    assert!(!one.with(&name("b"), Arc::new(model(vec![(1, State::Loading)]))).is_ready());
    assert!(!one.with(&name("b"), Arc::new(Model::failed(None, WHY.into()))).is_ready());
}

#[test]
fn a_look_at_the_repository_does_not_touch_what_is_known() {
    let known = table(model(vec![(1, ready(1))]));
    let news = [("digits".parse().unwrap(), Arc::new(Model::failed(None, WHY.into())))];
    assert_eq!(resolve(&known.with_new(&news), "digits"), Ok(1));
}
