use jepsen_checkers::history::{self, LINE_BYTES_MAX};
use jepsen_checkers::{Event, History, Kind, Model, Name, Process, Settings, judge};
use serde_json::json;

fn refused(file: impl AsRef<[u8]>) -> String {
    History::read(file.as_ref()).expect_err("not a history").to_string()
}

const INVOKE: &str = r#"{"time":5,"process":0,"type":"invoke","f":"read","key":"x"}"#;

/// Whoever wrote the file learns where it is wrong, what stands there, and what should.
#[test]
fn malformed_lines_are_named_with_what_was_expected() {
    let cases = [
        (r#"{"time":"#, "not JSON"),
        ("[1,2]", "[1,2] is not an event; expected an object"),
        ("null", "null is not an event"),
        (r#"{"process":1,"type":"ok","f":"read"}"#, "the field `time` is missing; expected nanoseconds"),
        (r#"{"time":9,"type":"ok","f":"read"}"#, "the field `process` is missing; expected the number of a client"),
        (r#"{"time":9,"process":1,"f":"read"}"#, "the field `type` is missing; expected \"invoke\", \"ok\""),
        (r#"{"time":9,"process":1,"type":"invoke"}"#, "the field `f` is missing"),
        (r#"{"time":9,"process":1,"type":"done","f":"read"}"#, "the field `type` is \"done\"; expected \"invoke\""),
        (r#"{"time":-9,"process":1,"type":"ok","f":"read"}"#, "the field `time` is -9; expected nanoseconds"),
        (r#"{"time":1.5,"process":1,"type":"ok","f":"read"}"#, "the field `time` is 1.5"),
        (r#"{"time":99999999999999999999,"process":1,"type":"ok","f":"read"}"#, "the field `time` is"),
        (r#"{"time":9,"process":-1,"type":"ok","f":"read"}"#, "the field `process` is -1"),
        (r#"{"time":9,"process":1,"type":"ok","f":7}"#, "the field `f` is 7"),
        (r#"{"time":9,"process":1,"type":"ok","f":"read","key":[1]}"#, "the field `key` is [1]; expected a string or"),
        (r#"{"time":9,"process":1,"type":"ok","f":"read","token":"t"}"#, "the field `token` is \"t\""),
        (r#"{"time":9,"process":1,"type":"ok","f":"read"}"#, "process 1 completes `read`, but has nothing open"),
        (r#"{"time":9,"process":0,"type":"invoke","f":"write"}"#, "invokes `write` while its `read` of line 1 is open"),
        (r#"{"time":9,"process":0,"type":"ok","f":"write","key":"x"}"#, "open since line 1 is `read x`"),
        (r#"{"time":9,"process":0,"type":"ok","f":"read","key":"y"}"#, "completes `read y`"),
        (r#"{"time":4,"process":0,"type":"ok","f":"read"}"#, "goes back in time, from 5 to 4 ns"),
    ];
    for (line, expected) in cases {
        let message = refused(format!("{INVOKE}\n\n{line}\n"));
        assert!(message.starts_with("line 3: ") && message.contains(expected), "{line}\n gave {message}");
    }
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let mut file = format!("{INVOKE}\n{{\"time\":").into_bytes();
    file.extend([0xff, 0xfe, b'\n']);
    assert_eq!(refused(file), "line 2: byte 9 is not UTF-8; expected JSON text");
}

/// A file without line ends must not fill the memory, nor deep nesting the stack.
#[test]
fn endless_lines_and_deep_nesting_are_refused() {
    let mut file = format!("{INVOKE}\n").into_bytes();
    file.extend(std::iter::repeat_n(b'x', 3 * LINE_BYTES_MAX));
    assert!(refused(file).starts_with("line 2: longer than"), "the second line is too long");

    let deep = format!(r#"{{"time":1,"process":0,"type":"ok","f":"read","value":{}"#, "[".repeat(100_000));
    assert!(refused(deep).starts_with("line 1: not JSON (recursion limit"), "deep nesting");
}

/// A run that was killed while it wrote leaves half a line.
#[test]
fn a_torn_last_line_is_named() {
    let message = refused(format!("{INVOKE}\n{}", &INVOKE[..30]));
    assert!(message.starts_with("line 2: not JSON (EOF while parsing"), "{message}");
}

#[test]
fn lines_of_different_processes_may_be_out_of_order() {
    let file = r#"
{"index":9,"time":50,"process":1,"type":"invoke","f":"read","key":"x"}
{"index":3,"time":10,"process":0,"type":"invoke","f":"write","key":"x","value":1}
{"index":3,"time":20,"process":0,"type":"ok","f":"write","key":"x","value":1}
{"index":1,"time":60,"process":1,"type":"ok","f":"read","key":"x","value":null}
"#;
    let history = History::read(file.as_bytes()).expect("a history");
    let verdict = judge(Model::Register, &history, Settings::default()).expect("known operations");
    assert!(verdict.violation().is_some(), "the write ended before the read began, whatever the lines say: {verdict}");
}

#[test]
fn marks_unknown_fields_and_open_operations_are_kept() {
    let file = r#"
{"time":1,"process":"nemesis","type":"info","f":"kill","value":["n1"],"colour":"red"}
{"time":2,"process":4,"type":"invoke","f":"read","key":7,"zone":"a"}
{"time":3,"process":4,"type":"ok","f":"read","value":1,"node":"n2","shard":3,"revision":12,"level":"ANY","zone":"b"}
{"time":3,"process":4,"type":"invoke","f":"write","key":7,"value":2}
"#;
    let history = History::read(file.as_bytes()).expect("a history");
    assert_eq!(history.marks.len(), 1);
    assert_eq!(history.marks[0].process, Process::Other("nemesis".into()));
    assert_eq!(history.marks[0].extra["colour"], json!("red"));
    let [read, write] = &history.operations[..] else { panic!("two operations") };
    assert_eq!((read.key.clone(), &read.answer), (Some(Name::Number(7)), &json!(1)));
    assert_eq!((read.shard, read.revision, read.level.as_deref()), (Some(3), Some(12), Some("ANY")));
    assert_eq!((&read.extra["zone"], read.line, read.end_line), (&json!("b"), 3, Some(4)));
    assert!(write.is_unknown() && write.end_ns.is_none());
}

#[test]
fn what_is_written_is_read_again() {
    let mut invoke = Event::new(3, 0, Kind::Invoke, "cas");
    invoke.key = Some(Name::from("k\n\"ä"));
    invoke.value = json!([null, "v"]);
    invoke.extra.insert("ours".into(), json!({"a": 1}));
    let ok = Event { time: 9, kind: Kind::Ok, token: Some(u64::MAX), revision: Some(4), ..invoke.clone() };
    let mut file = Vec::new();
    history::write(&mut file, [&invoke, &ok]).expect("memory takes all");
    let text = String::from_utf8(file.clone()).expect("text");
    assert_eq!(text.lines().count(), 2);
    assert!(text.starts_with(r#"{"index":0,"time":3,"process":0,"type":"invoke","f":"cas","key":"#), "{text}");
    let read = History::read(&file[..]).expect("a history");
    let mut expected = History::from_events([invoke, ok]).expect("a history");
    assert_eq!(expected.operations[0].line, 1);
    expected.operations[0].end_line = Some(2);
    assert_eq!(read, expected);
}

/// An operation that a model does not know is the file's fault: no verdict, but the line.
#[test]
fn operations_that_mean_nothing_to_the_model_are_named() {
    let file = |f: &str, value: &str, answer: &str| {
        format!(
            "{{\"time\":1,\"process\":0,\"type\":\"invoke\",\"f\":\"{f}\",\"value\":{value}}}\n\
             {{\"time\":2,\"process\":0,\"type\":\"ok\",\"f\":\"{f}\",\"value\":{answer}}}\n"
        )
    };
    let cases = [
        (Model::Register, file("txn", "[]", "[]")),
        (Model::Register, file("cas", "[1]", "[1]")),
        (Model::Counter { min: None }, file("add", "\"x\"", "null")),
        (Model::Counter { min: None }, file("read", "null", "\"x\"")),
        (Model::Counter { min: None }, file("add", "1", "2")),
        (Model::Set, file("read", "null", "7")),
        (Model::Queue, file("pop", "null", "7")),
        (Model::Lock, file("write", "1", "1")),
        (Model::Tokens(Default::default()), file("acquire", "null", "null")),
    ];
    for (model, text) in cases {
        let history = History::read(text.as_bytes()).expect("a history");
        let error = judge(model, &history, Settings::default()).expect_err("no verdict").to_string();
        assert!(error.starts_with("line 1: `") && error.contains("expected"), "{model}: {error}");
    }
}
