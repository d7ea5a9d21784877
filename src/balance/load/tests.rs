use super::*;

#[test]
fn of_an_endpoint_that_was_lost_and_is_back_what_it_failed_is_forgotten() {
    let start = Instant::now();
    let load = Load::new(None, start);
    for _ in 0..10 {
        load.start(1, start);
        load.end(1, Outcome::Failed { penalty: Duration::from_secs(5) }, Duration::from_millis(1), start);
    }
    assert!(load.predicted(1, start) > Duration::from_secs(1));
    load.begin_anew();
    assert_eq!(load.predicted(1, start), Duration::ZERO);
}
