//! PyIceberg, asked through one long-lived process: tests/tools/read_table.py --serve.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
};

use serde_json::Value;

use crate::services::SERVICES;

static READER: Mutex<Option<Reader>> = Mutex::new(None);

struct Reader {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    child: Child,
}

/// One answer. `Err` is what PyIceberg says.
pub fn ask(request: &Value) -> Result<Value, String> {
    let mut reader = READER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let reader = reader.get_or_insert_with(start);
    let mut line = String::new();
    writeln!(reader.stdin, "{request}").expect("PyIceberg runs");
    reader.stdout.read_line(&mut line).expect("PyIceberg answers");
    let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in answer {line:?}"));
    match answer.get("error") {
        Some(error) => Err(error.to_string()),
        None => Ok(answer["snapshots"].take()),
    }
}

/// Ends the process.
pub fn stop() {
    let reader = READER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(Reader { stdin, mut child, .. }) = reader {
        drop(stdin);
        child.wait().expect("it was started here");
    }
}

fn start() -> Reader {
    let python = SERVICES.python.as_ref().expect("asked for only where there is a Python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tools/read_table.py");
    let mut child = Command::new(python)
        .arg("-W")
        .arg("ignore")
        .arg(script)
        .arg("--serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let stdin = child.stdin.take().expect("it is piped");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    Reader { stdin, stdout, child }
}
