//! A configuration as people write it, and what they are told when it is wrong.

use std::io::Write;
use std::path::PathBuf;

use super::*;

/// Sources of a configuration; the file is written when it is loaded.
#[derive(Default)]
struct Given {
    file: Option<&'static str>,
    variables: Vec<(&'static str, &'static str)>,
    flags: Overrides,
}

impl Given {
    fn load(self) -> Result<Config, String> {
        let file = self.file.map(|text| {
            let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        });
        let path = file.as_ref().map(|file| file.path());
        let variables = self.variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = Config::load(path, variables, self.flags);
        loaded.map_err(|error| match path {
            Some(path) => error.to_string().replace(path.to_str().unwrap(), "FILE"),
            None => error.to_string(),
        })
    }
}

fn file(text: &'static str) -> Given {
    Given { file: Some(text), ..Given::default() }
}

fn variables(variables: &[(&'static str, &'static str)]) -> Given {
    Given { variables: variables.to_vec(), ..Given::default() }
}

fn refusal(given: Given) -> String {
    given.load().unwrap_err()
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = Given::default().load().unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.listen.to_string(), "127.0.0.1:8001");
    assert_eq!(config.limits.default_deadline, Period::seconds(60));
}

#[test]
fn a_flag_outweighs_a_variable_which_outweighs_the_file() {
    let sources = Given {
        file: Some("listen = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[limits]\nin_flight = 3\nqueue_calls = 4"),
        variables: vec![("INFERGATE_LISTEN", "127.0.0.1:11"), ("INFERGATE_LIMITS_IN_FLIGHT", "13")],
        flags: Overrides::default().flag("--listen", "listen", Some("127.0.0.1:21")),
    };
    let config = sources.load().unwrap();
    assert_eq!(config.listen.port(), 21);
    assert_eq!(config.limits.in_flight, 13);
    assert_eq!(config.limits.queue_calls, 4);
    assert_eq!(config.admin.port(), 2);
}

#[test]
fn a_variable_spells_every_type() {
    let config = variables(&[
        ("INFERGATE_ALLOW_MODEL_CONTROL", "false"),
        ("INFERGATE_HTTP2_MAX_CONCURRENT_STREAMS", "7"),
        ("INFERGATE_LIMITS_MESSAGE_SIZE", "1048576"),
        ("INFERGATE_LIMITS_QUEUE_BYTES", "3GiB"),
        ("INFERGATE_DRAIN_GRACE", "250ms"),
        ("INFERGATE_COMPUTE_CPUS", "3"),
        ("INFERGATE_MODELS", "42"),
        ("INFERGATE_LOG_LEVEL", "warn,infergate::models=debug"),
        ("INFERGATE_LOG_FORMAT", "json"),
        ("HOME", "/root"),
    ]);
    let config = config.load().unwrap();
    assert!(!config.allow_model_control);
    assert_eq!(config.http2.max_concurrent_streams, 7);
    assert_eq!(config.limits.message_size, ByteSize::mib(1));
    assert_eq!(config.limits.queue_bytes, ByteSize::gib(3));
    assert_eq!(config.drain.grace, Period::millis(250));
    assert_eq!(config.compute.cpus, Some(3));
    assert_eq!(config.models, Some(PathBuf::from("42")));
    assert_eq!(config.log.level.as_str(), "warn,infergate::models=debug");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn an_unknown_key_is_told_with_its_neighbours() {
    assert_eq!(
        refusal(file("[drain]\ngrase = \"5s\"")),
        "FILE: drain.grase: unknown key, did you mean grace?; allowed here are announce, grace"
    );
    let top = refusal(file("[limit]\nin_flight = 5"));
    assert!(
        top.starts_with("FILE: limit: unknown key, did you mean limits?; allowed here are listen, admin,"),
        "{top}"
    );
}

#[test]
fn a_wrong_type_is_told_with_what_was_found_and_what_is_allowed() {
    for (text, told) in [
        ("listen = 8001", "listen: found 8001, allowed is an IP address with a port"),
        ("listen = \"localhost\"", "listen: found \"localhost\", allowed is an IP address with a port"),
        ("limits = 3", "limits: found 3, allowed is a table with the keys in_flight,"),
        ("limits.in_flight = \"12\"", "limits.in_flight: found \"12\", allowed is a whole number"),
        ("limits.in_flight = -1", "limits.in_flight: found -1, allowed is a whole number"),
        ("limits.in_flight = 1.5", "limits.in_flight: found 1.5, allowed is a whole number"),
        ("limits.message_size = \"64MB\"", "limits.message_size: found \"64MB\", allowed is a size such as"),
        ("limits.message_size = -1", "limits.message_size: found -1, allowed is a size such as"),
        ("drain.grace = 5", "drain.grace: found 5, allowed is a duration with its unit"),
        ("log.format = \"xml\"", "log.format: found \"xml\", allowed is \"text\" or \"json\""),
        ("log.level = \"inof\"", "log.level: found \"inof\", allowed is off, error, warn,"),
        ("reflection.enabled = \"yes\"", "reflection.enabled: found \"yes\", allowed is true or false"),
        ("models = [\"a\"]", "models: found a list, allowed is a path"),
        (
            "model = 3",
            "model: found 3, allowed is a table of models, each a table, such as { resnet = { pure = true } }",
        ),
        ("model.m = true", "model.m: found true, allowed is a table with the keys pure, policy, hedge, binding"),
        ("model.\"a.b\".pure = 1", "model.a.b.pure: found 1, allowed is true or false"),
        ("model.m.binding = \"never\"", "model.m.binding: found \"never\", allowed is \"early\" or \"late\""),
    ] {
        let refused = refusal(file(text));
        assert!(refused.starts_with(&format!("FILE: {told}")), "{refused}");
    }
}

#[test]
fn every_mistake_is_told_at_once_even_where_a_stronger_source_hides_it() {
    let mut given = file("lisen = 1\n[limits]\nin_flight = \"many\"");
    given.variables = vec![("INFERGATE_LIMITS_IN_FLIGHT", "13"), ("INFERGATE_DRAIN_GRACE", "soon")];
    given.flags = Overrides::default().flag("--admin", "admin", Some("nowhere"));
    let refused = refusal(given);
    let sources: Vec<&str> = refused.lines().map(|line| line.rsplit_once(": ").unwrap().0).collect();
    assert_eq!(
        sources,
        ["FILE: limits.in_flight", "FILE: lisen", "INFERGATE_DRAIN_GRACE: drain.grace", "--admin: admin"],
        "{refused}"
    );
}

#[test]
fn an_unknown_variable_of_ours_is_told_with_the_near_ones() {
    assert_eq!(
        refusal(variables(&[("INFERGATE_IN_FLIGHT", "3")])),
        "INFERGATE_IN_FLIGHT: unknown variable, did you mean INFERGATE_LIMITS_IN_FLIGHT \
         or INFERGATE_LIMITS_STREAM_IN_FLIGHT?"
    );
    let far = refusal(variables(&[("INFERGATE_COLOUR", "red")]));
    assert!(far.starts_with("INFERGATE_COLOUR: unknown variable; they are named after keys"), "{far}");
    assert!(variables(&[("INFERGATE_SERVICE_HOST", "10.0.0.7")]).load().is_ok());
    assert!(variables(&[("OTHERGATE_LISTEN", "x")]).load().is_ok());
}

#[test]
fn an_empty_variable_is_a_mistake_and_not_a_default() {
    let refused = refusal(variables(&[("INFERGATE_MODELS", "")]));
    assert_eq!(refused, "INFERGATE_MODELS: is empty; unset it or give a path");
}

#[test]
fn a_flag_for_an_unknown_key_is_told_with_the_near_ones() {
    let flags = Overrides::default().flag("--set", "limits.inflight", Some(3)).flag("--log", "log.level", None::<&str>);
    assert_eq!(
        refusal(Given { flags, ..Given::default() }),
        "--set: limits.inflight: unknown key, did you mean limits.in_flight?"
    );
}

#[test]
fn a_flag_sets_one_rule_of_one_model_beside_what_the_file_says_of_it() {
    let set = |key: &str, value: &str| Overrides::default().flag("--set", key, Some(value));
    let flags = set("model.resnet.pure", "true").flag("--set", "model.v1.2.binding", Some("late"));
    let mut given = file("[model.resnet]\npure = false\npolicy = \"round-robin\"\n[model.other]\nhedge = false");
    given.flags = flags;
    let models = given.load().unwrap().model.unwrap();
    let resnet = ModelRules { pure: Some(true), policy: Some(PickBy::RoundRobin), ..ModelRules::default() };
    assert_eq!(models["resnet"], resnet);
    assert_eq!(models["v1.2"], ModelRules { binding: Binding::Late, ..ModelRules::default() });
    assert_eq!(models["other"], ModelRules { hedge: Some(false), ..ModelRules::default() });
    for (key, value, told) in [
        ("model.m.pure", "maybe", "model.m.pure: found \"maybe\", allowed is true or false"),
        ("model.m.binding", "never", "model.m.binding: found \"never\", allowed is \"early\" or \"late\""),
        (
            "model.m.pur",
            "true",
            "model.m.pur: unknown key, did you mean pure?; \
             allowed is model.NAME.KEY with KEY one of pure, policy, hedge, binding",
        ),
        (
            "model.resnet",
            "true",
            "model.resnet: unknown key; allowed is model.NAME.KEY with KEY one of pure, policy, hedge, binding",
        ),
        (
            "model..pure",
            "true",
            "model..pure: unknown key, did you mean pure?; \
             allowed is model.NAME.KEY with KEY one of pure, policy, hedge, binding",
        ),
    ] {
        let refused = refusal(Given { flags: set(key, value), ..Given::default() });
        assert_eq!(refused, format!("--set: {told}"));
    }
}

#[test]
fn a_variable_has_all_models_as_a_file_writes_them() {
    let mut given = variables(&[("INFERGATE_MODEL", "{ resnet = { pure = true } }")]);
    given.file = Some("[model.resnet]\nhedge = false");
    let rules = ModelRules { pure: Some(true), hedge: Some(false), ..ModelRules::default() };
    assert_eq!(given.load().unwrap().model.unwrap()["resnet"], rules);
    let allowed = "a table of models, each a table, such as { resnet = { pure = true } }";
    for (variable, text, told) in [
        ("INFERGATE_MODEL", "resnet", format!("model: found \"resnet\", allowed is {allowed}")),
        ("INFERGATE_MODEL", "{}\nlisten = 3", format!("model: found \"{{}}\\nlisten = 3\", allowed is {allowed}")),
        ("INFERGATE_MODEL", "{ m = { pure = 3 } }", "model.m.pure: found 3, allowed is true or false".to_owned()),
        ("INFERGATE_MODEL_RESNET_PURE", "true", format!("unknown variable; INFERGATE_MODEL is {allowed}")),
    ] {
        assert_eq!(refusal(variables(&[(variable, text)])), format!("{variable}: {told}"));
    }
}

#[test]
fn the_default_of_a_role_is_outweighed_by_every_source() {
    let role = || Overrides::default().role_default("listen", "0.0.0.0:8001");
    let config = Given { flags: role(), ..Given::default() }.load().unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:8001");
    let config = Given { file: Some("listen = \"127.0.0.1:7\""), flags: role(), ..Given::default() }.load().unwrap();
    assert_eq!(config.listen.port(), 7);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Some(Path::new("no/such.toml")), std::iter::empty(), Overrides::default()).unwrap_err();
    assert!(error.to_string().starts_with("no/such.toml: cannot read: "), "{error}");
}

#[test]
fn a_broken_rule_names_both_values_and_where_they_come_from() {
    let mut given = file("[limits]\nmessage_size = \"1GiB\"\nqueue_bytes = \"2GiB\"");
    given.variables = vec![("INFERGATE_LIMITS_MESSAGE_BYTES", "512MiB")];
    assert_eq!(
        refusal(given),
        "FILE: limits.message_size: found \"1GiB\", allowed is at most limits.message_bytes \
         (\"512MiB\" from INFERGATE_LIMITS_MESSAGE_BYTES)"
    );
    assert_eq!(
        refusal(variables(&[("INFERGATE_LIMITS_MAX_DEADLINE", "30s")])),
        "default: limits.default_deadline: found \"60s\", allowed is at most limits.max_deadline \
         (\"30s\" from INFERGATE_LIMITS_MAX_DEADLINE)"
    );
}

#[test]
fn values_out_of_range_are_refused() {
    for text in [
        "limits.in_flight = 0",
        "limits.connections = 9223372036854775807",
        "limits.message_bytes = 9223372036854775807",
        "limits.message_size = \"3GiB\"\nlimits.message_bytes = \"4GiB\"\nlimits.queue_bytes = \"4GiB\"",
        "limits.message_size = 0",
        "limits.default_deadline = \"0s\"",
        "http2.max_concurrent_streams = 0",
        "http2.stream_window = \"2GiB\"",
        "http2.connection_window = \"1KiB\"",
        "http2.max_frame_size = \"16MiB\"",
        "http2.max_frame_size = 1024",
        "http2.max_header_list = 0",
        "http2.handshake_timeout = \"0s\"",
        "compute.cpus = 0",
        "compute.load_concurrency = 0",
        "admin = \"127.0.0.1:8001\"",
        "tls.cert = \"a\"",
        "tls.key = \"a\"",
        "tls.client_ca = \"a\"",
        "models = \"\"",
        "log.access_sample = 1.5",
        "metrics.compatible = [\"graphite\"]",
    ] {
        let refused = refusal(file(text));
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    assert!(file("tls = { cert = \"a\", key = \"b\", client_ca = \"c\" }").load().is_ok());
    assert!(file("listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"").load().is_ok());
}

#[test]
fn every_key_has_a_meaning_and_a_default_or_a_sample() {
    for key in Config::keys() {
        assert!(!key.meaning.is_empty() && (key.default.is_some() || key.sample.is_some()), "{}", key.path);
    }
}

#[test]
fn a_collector_has_a_scheme_a_ratio_is_a_part_and_networks_have_so_many_bits() {
    let refused = refusal(file("[tracing]\nendpoint = \"collector:4317\"\nratio = 1.5\nqueue = 0"));
    for key in ["tracing.endpoint", "tracing.ratio", "tracing.queue"] {
        assert!(refused.contains(key), "{refused}");
    }
    assert!(refusal(file("[tracing]\ntrusted = [\"10.0.0.0/40\"]")).contains("tracing.trusted"));
    let config = variables(&[("INFERGATE_TRACING_TRUSTED", "192.0.2.0/24, ::1"), ("INFERGATE_TRACING_RATIO", "0.5")]);
    let tracing = config.load().unwrap().tracing;
    assert!(tracing.trusted.contain("192.0.2.9".parse().unwrap()) && tracing.ratio == Some(0.5));
}

#[test]
fn the_example_in_the_tree_has_every_key_at_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/infergate.example.toml");
    let example = std::fs::read_to_string(path).unwrap();
    assert_eq!(example, Config::example(), "write what Config::example() gives to infergate.example.toml");
    let config = Config::load(Some(Path::new(path)), std::iter::empty(), Overrides::default()).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn the_samples_in_the_example_can_be_taken_as_they_are() {
    let uncommented: Vec<String> = Config::example()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned())
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), uncommented.join("\n")).unwrap();
    let config = Config::load(Some(file.path()), std::iter::empty(), Overrides::default()).unwrap();
    assert!(config.models.is_some() && config.tls.client_ca.is_some() && config.compute.cpus.is_some());
}
