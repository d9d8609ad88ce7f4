use super::*;

/// A scenario with some of its lines replaced: `(from, to)`.
fn with(changes: &[(&str, &str)]) -> Result<Scenario, ScenarioError> {
    let mut text = r#"
title = "Two hosts"
about = "They talk."
[set]
size = "22"
[server]
script = """
listen
accept
respond 200 size {size}
"""
[client]
script = """
connect
read response
"""
[wire]
script = "delay 1ms"
[truth]
client = "ok"
[[fix]]
id = "smaller"
owner = "server"
title = "send less"
claim = "helps"
set.size = 1
[[real]]
id = "curl"
client = "curl http://{addr}/"
needs = ["curl"]
"#
    .to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the scenario");
        text = text.replacen(from, to, 1);
    }
    Scenario::parse("two-hosts", &text)
}

/// It is refused, with all of these words in the message.
fn refused(changes: &[(&str, &str)], words: &[&str]) {
    let message = match with(changes) {
        Err(error) => error.to_string(),
        Ok(scenario) => panic!("not refused: {scenario:#?}"),
    };
    for word in words.iter().chain(&["two-hosts"]) {
        assert!(message.contains(word), "{word} in {message:?}");
    }
}

#[test]
fn a_scenario_is_read() {
    let scenario = with(&[]).unwrap();
    assert_eq!(scenario.host_names(), ["client", "server"]);
    assert!(scenario.deterministic, "unless said otherwise");
    assert_eq!(scenario.truth.client, ["ok"], "one stands for a list of one");
    let plan = scenario.plan(&BTreeMap::new(), None).unwrap();
    let of = |plan: &Plan, name: &str| {
        let host = plan.hosts.iter().find(|host| host.name == name).unwrap();
        host.does.clone()
    };
    assert_eq!(
        of(&plan, "server"),
        Does::Script("listen\naccept\nrespond 200 size 22\n".to_owned())
    );
    assert_eq!((plan.deadline.as_secs(), plan.settle.as_millis()), (10, 30));
    let fixed = scenario.plan(&scenario.fixes[0].set, None).unwrap();
    assert_eq!(
        of(&fixed, "server"),
        Does::Script("listen\naccept\nrespond 200 size 1\n".to_owned())
    );
    let real = scenario.plan(&BTreeMap::new(), Some(&scenario.reals[0])).unwrap();
    // Addresses are known when the hosts are.
    assert_eq!(of(&real, "client"), Does::Command("curl http://{addr}/".to_owned()));
    assert_eq!(real.needs, ["curl"]);
}

#[test]
fn what_is_built_in_can_be_read() {
    let scenarios = Scenario::all().unwrap();
    assert_eq!(scenarios.len(), BUILT_IN.len());
    assert!(Scenario::built_in("closed-port").unwrap().is_ok());
    assert!(Scenario::built_in("nothing").is_none());
}

#[test]
fn every_start_of_a_scenario_is_read_or_refused() {
    for (name, text) in BUILT_IN {
        for end in (0..text.len()).step_by(97).filter(|end| text.is_char_boundary(*end)) {
            let _ = Scenario::parse(name, &text[..end]);
        }
    }
}

#[test]
fn toml_that_is_none_is_refused_with_its_line() {
    refused(&[("[truth]", "[truth")], &["line 19"]);
    refused(&[("title = ", "titel = ")], &["titel", "line 2"]);
    refused(&[("client = \"ok\"", "clients = \"ok\"")], &["clients"]);
    refused(&[("claim = \"helps\"", "claim = \"perhaps\"")], &["perhaps", "cures"]);
    refused(&[("size = \"22\"", "size = [22]")], &["text or a number", "array"]);
    refused(&[("about = \"They talk.\"", "")], &["about"]);
}

#[test]
fn a_line_of_a_script_is_refused_with_its_number() {
    refused(
        &[("accept\n", "acept\n")],
        &["the script of server", "line 2", "\"acept\""],
    );
    refused(
        &[("read response", "read everything")],
        &["the script of client", "line 2"],
    );
    refused(
        &[("delay 1ms", "delay a bit")],
        &["the script of wire", "line 1", "delay a bit"],
    );
    // A change that makes a line wrong is found before anybody asks for it.
    refused(
        &[("set.size = 1", "set.size = \"x\"")],
        &["the script of server", "line 3", "size x"],
    );
}

#[test]
fn a_host_that_is_none_is_refused() {
    let unknown = |truth: &str| refused(&[("client = \"ok\"", truth)], &["the truth speaks of proxy"]);
    unknown("kernel = [{ host = \"proxy\" }]");
    unknown("counters = [{ host = \"proxy\", name = \"X\" }]");
    unknown("unread = { host = \"proxy\", bytes = 1 }");
    unknown("also = { proxy = [] }");
    unknown("finds = { proxy = [] }");
    refused(
        &[("client = \"curl", "proxy = \"curl")],
        &["[[real]] curl", "\"proxy\"", "no host"],
    );
    refused(
        &[("needs = [\"curl\"]", "[real.truth]\nkernel = [{ host = \"proxy\" }]")],
        &["the truth speaks of proxy"],
    );
    refused(
        &[("[wire]", "[hosts.fresh]\nshares_address_of = \"old\"\n[wire]")],
        &["fresh shares the address of old"],
    );
}

#[test]
fn roles_must_be_there_once() {
    refused(&[("[server]", "[hosts.backend]")], &["there is no server"]);
    refused(&[("[client]", "[hosts.visitor]")], &["there is no client"]);
    refused(
        &[("[wire]", "[hosts.client]\nscript = \"connect\"\n[wire]")],
        &["[client] and [hosts.client]"],
    );
    refused(
        &[("[client]\n", "[client]\ncommand = \"curl {addr}\"\n")],
        &["client has a script and a command"],
    );
    // Any name that begins with `client` is one.
    let several = with(&[
        ("[client]", "[hosts.client-a]"),
        ("client = \"curl", "client-a = \"curl"),
    ])
    .unwrap();
    assert_eq!(several.host_names(), ["client-a", "server"]);
}

#[test]
fn a_value_that_is_set_must_exist() {
    refused(
        &[("set.size = 1", "set.sise = 1")],
        &["smaller sets \"sise\"", "[set] does not have"],
    );
    refused(
        &[("needs = [\"curl\"]", "set.sise = 1")],
        &["curl sets \"sise\"", "[set] does not have"],
    );
}

#[test]
fn times_and_counts_are_checked() {
    refused(
        &[("about =", "deadline = \"soon\"\nabout =")],
        &["deadline = \"soon\"", "500ms"],
    );
    refused(&[("about =", "settle = \"1\"\nabout =")], &["settle = \"1\""]);
    refused(
        &[("[client]\n", "[client]\ncount = \"some\"\n")],
        &["the count of client"],
    );
    let scenario = with(&[("[client]\n", "[client]\ncount = \"{size}\"\n")]).unwrap();
    assert_eq!(scenario.plan(&BTreeMap::new(), None).unwrap().hosts[0].count, 22);
}

#[test]
fn values_may_hold_values_and_circles_end() {
    let values = |pairs: &[(&str, &str)]| -> BTreeMap<String, Text> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Text((*value).to_owned()));
        pairs.iter().map(pair).collect()
    };
    assert_eq!(fill("{a}, {b}", &values(&[("a", "1"), ("b", "<{a}>")])), "1, <1>");
    // Braces around anything else stay: configuration files have them.
    assert_eq!(
        fill("server { listen {addr}; }", &values(&[("a", "1")])),
        "server { listen {addr}; }"
    );
    let circle = fill("{a}", &values(&[("a", "{b}"), ("b", "{a}")]));
    assert!(circle == "{a}" || circle == "{b}", "{circle}");
    let growing = fill("{a}", &values(&[("a", "{a}{a}")]));
    assert!(growing.len() < 1000, "{}", growing.len());
}

#[test]
fn numbers_and_truths_are_taken_as_they_are_written() {
    let scenario = with(&[("size = \"22\"", "size = 22\nshare = 1.5\non = true")]).unwrap();
    let text = |name: &str| scenario.set[name].0.clone();
    assert_eq!([text("size"), text("share"), text("on")], ["22", "1.5", "true"]);
}
