use super::*;

fn three_nodes() -> RawConfig {
    let members = ["2=127.0.0.1:7402", "1=127.0.0.1:7401", "3=127.0.0.1:7403"];
    RawConfig {
        node: Some(2),
        data_dir: Some("/tmp/n2".into()),
        initial_cluster: Some(members.map(String::from).to_vec()),
        ..RawConfig::default()
    }
}

fn with(change: impl FnOnce(&mut RawConfig)) -> Result<Config, ConfigError> {
    let mut raw = three_nodes();
    change(&mut raw);
    Config::from_raw(raw)
}

/// The text of the error, which must be one line: it is all that a person sees of a failed start.
fn refusal(change: impl FnOnce(&mut RawConfig)) -> String {
    let text = with(change).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text:?}");
    text
}

#[test]
fn the_defaults_make_a_node_of_three() {
    let config = Config::from_raw(three_nodes()).unwrap();
    assert_eq!((config.listen.as_str(), config.advertise.as_str()), ("127.0.0.1:7402", "127.0.0.1:7402"));
    assert_eq!((config.founding.shards, config.founding.replication), (3, 3));
    let nodes: Vec<u64> = config.founding.founders.iter().map(|founder| founder.node.0).collect();
    assert_eq!(nodes, [1, 2, 3], "sorted, whatever the order given");
}

/// Nodes recognise each other by this id, so the order of a list must not matter, and every word must.
#[test]
fn the_cluster_id_depends_on_the_name_and_the_founders_but_not_their_order() {
    let id = |change: fn(&mut RawConfig)| with(change).unwrap().founding.cluster();
    let here = id(|_| ());
    assert_eq!(here, id(|raw| raw.initial_cluster.as_mut().unwrap().reverse()));
    assert_eq!(here, id(|raw| raw.node = Some(3)));
    assert_ne!(here, id(|raw| raw.cluster_name = Some("other".into())));
    assert_ne!(here, id(|raw| raw.initial_cluster.as_mut().unwrap()[0] = "2=127.0.0.1:9402".into()));
}

#[test]
fn flags_and_variables_count_more_than_the_file() {
    let file = RawConfig::from_toml("node = 7\nshards = 5\ninitial_cluster = ['1=a:1']").unwrap();
    let raw = RawConfig { node: Some(1), ..RawConfig::default() }.over(file);
    assert_eq!((raw.node, raw.shards), (Some(1), Some(5)));
    assert_eq!(raw.initial_cluster, Some(vec!["1=a:1".to_owned()]));
}

#[test]
fn a_malformed_file_is_refused_with_its_line() {
    for (text, line, word) in [
        ("node = 1\nshard = 3\n", 2, "shard"),
        ("\n\nnode = \"one\"", 3, "invalid type"),
        ("initial_cluster = \"1=a:1\"", 1, "invalid type"),
        ("node = = 1", 1, ""),
        ("node = -1", 1, ""),
    ] {
        let (found, reason) = RawConfig::from_toml(text).unwrap_err();
        assert_eq!(found, line, "{text}: {reason}");
        assert!(reason.contains(word) && !reason.contains('\n'), "{text}: {reason}");
    }
}

#[test]
fn an_unreadable_file_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let missing = RawConfig::from_file(&dir.path().join("none.toml")).unwrap_err();
    assert!(matches!(missing, ConfigError::Unreadable { .. }), "{missing}");
    assert!(missing.to_string().contains("none.toml"), "{missing}");
    let directory = RawConfig::from_file(dir.path()).unwrap_err();
    assert!(matches!(directory, ConfigError::Unreadable { .. }), "{directory}");
    std::fs::write(dir.path().join("latin1.toml"), [b'#', 0xe9, b'\n']).unwrap();
    let not_text = RawConfig::from_file(&dir.path().join("latin1.toml")).unwrap_err();
    assert!(matches!(not_text, ConfigError::Unreadable { .. }), "{not_text}");
}

#[test]
fn what_cannot_be_is_refused_and_named() {
    assert!(refusal(|raw| raw.node = None).contains("--node"));
    assert!(refusal(|raw| raw.data_dir = None).contains("--data-dir"));
    assert!(refusal(|raw| raw.initial_cluster = None).contains("--initial-cluster"));
    assert!(refusal(|raw| raw.node = Some(0)).contains("number the nodes from 1"));
    assert!(refusal(|raw| raw.node = Some(4)).contains("node 4 is not in the initial cluster"));
    assert!(refusal(|raw| raw.advertise = Some("127.0.0.1".into())).contains("advertise"));
    assert!(refusal(|raw| raw.advertise = Some("127.0.0.1:0".into())).contains("advertise"));
    assert!(refusal(|raw| raw.listen = Some("here".into())).contains("listen"));
    assert!(with(|raw| raw.listen = Some("127.0.0.1:0".into())).is_ok(), "any free port");
    assert!(refusal(|raw| raw.shards = Some(0)).contains("at least one shard"));
    assert!(refusal(|raw| raw.replication = Some(4)).contains("4 replicas need as many nodes"));
    assert!(refusal(|raw| raw.value_bytes_max = Some(2 << 20)).contains("value_bytes_max"));
    assert!(refusal(|raw| raw.inflight_bytes_max = Some(1)).contains("inflight_bytes_max"));
    assert!(refusal(|raw| raw.log_keep_entries = Some(99)).contains("log_keep_entries"));
    assert!(refusal(|raw| raw.heartbeat_ms = Some(0)).contains("heartbeat_ms"));
    assert!(refusal(|raw| raw.election_min_ms = Some(1_000_000)).contains("election_min_ms"));
    assert!(refusal(|raw| raw.dedup_window_s = Some(1)).contains("dedup_window_s"));
    assert!(refusal(|raw| raw.cluster_name = Some(String::new())).contains("cluster_name"));
}

#[test]
fn a_malformed_initial_cluster_is_refused() {
    let members = |members: &[&str]| {
        let members = members.iter().map(|member| member.to_string()).collect();
        refusal(|raw| raw.initial_cluster = Some(members))
    };
    assert!(members(&["2"]).contains("ID=HOST:PORT"));
    assert!(members(&["two=a:1"]).contains("ID=HOST:PORT"));
    assert!(members(&["2=a:1", "1=a"]).contains("HOST:PORT"));
    assert!(members(&["2=a:1", "1=a:99999"]).contains("HOST:PORT"));
    assert!(members(&["2=a:1", "2=b:1"]).contains("given twice"));
    assert!(members(&["2=a:1", "0=b:1"]).contains("is 0"));
    assert!(members(&["2=a:1", "1=a:1"]).contains("given for two nodes"));
}

#[test]
fn detours_lead_to_founders_and_to_each_by_one_way() {
    let dial = |dial: &[&str]| with(|raw| raw.dial = Some(dial.iter().map(|s| s.to_string()).collect()));
    let config = dial(&["1=127.0.0.1:9401", " 3=proxy:9403"]).unwrap();
    assert_eq!(config.dial.get(&NodeId(3)).unwrap(), "proxy:9403");
    assert_eq!(config.founding.cluster(), with(|_| ()).unwrap().founding.cluster(), "no other cluster for it");
    for wrong in [&["4=a:1"][..], &["1=a:1", "1=b:1"], &["1"], &["x=a:1"], &["1=a"], &["1=a:0"]] {
        let text = dial(wrong).unwrap_err().to_string();
        assert!(text.contains("dial"), "{text}");
    }
}
