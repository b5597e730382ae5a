//! The program inside this process: for hundreds of short runs, of which starting one would be the larger part.

use std::{
    io::Write,
    sync::{Arc, LazyLock, Mutex},
    time::SystemTime,
};

use jobs::{
    cli::Cli,
    confirm::Ask,
    interrupt::Interrupt,
    job::{Environment, Ids, Program},
    progress::Progress,
    screen::{Paint, Screen},
};
use serde_json::Value;
use uuid::Uuid;

use crate::lake::{Lake, Ran, parse_json};

/// What runs in this process runs here.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime starts"));

const STACK_BYTES: usize = 8 << 20;

/// What stands for stdout.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nothing panics while it holds this").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a command line to its end.
pub fn run(lake: &Lake, arguments: &[impl AsRef<str>]) -> Ran {
    with(lake, arguments, None, None)
}

/// The same in a lake that is open already.
pub fn run_in(lake: &Lake, opened: &lake::Lake, arguments: &[impl AsRef<str>]) -> Ran {
    with(lake, arguments, None, Some(opened.clone()))
}

/// The same for somebody who gives that answer to every question.
pub fn answer(lake: &Lake, arguments: &[impl AsRef<str>], yes: bool) -> Ran {
    with(lake, arguments, Some(Arc::new(move |_| yes)), None)
}

fn with(lake: &Lake, arguments: &[impl AsRef<str>], ask: Option<Ask>, opened: Option<lake::Lake>) -> Ran {
    let folder = lake.folder();
    let path = |name: &str| folder.join(name).display().to_string();
    let report = format!("report-{}.json", Uuid::new_v4());
    let mut argv = vec!["etl".to_owned()];
    argv.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
    argv.extend(["--config", &path("etl.toml"), "--report", &path(&report), "--output", "json"].map(str::to_owned));
    let cli = Cli::read(argv.into_iter().map(Into::into)).expect("the command line is right");
    let (now, stdout) = (lake.now.parse().expect("a time"), Kept::default());
    let program = Program {
        globals: cli.globals.clone(),
        environment: Environment { temporary: folder.to_owned(), ..Environment::default() },
        args: Vec::new(),
        clock: Arc::new(move || now),
        system_clock: || SystemTime::UNIX_EPOCH,
        ids: Ids { run: Arc::new(|_| Uuid::new_v4()), random: Arc::new(Uuid::new_v4) },
        screen: Screen::new(Box::new(stdout.clone()), Paint::PLAIN),
        progress: Progress::silent(),
        ask,
        interrupt: Interrupt::never(),
        faults: None,
        lake: opened,
        reports: Arc::default(),
    };
    // With the stack that the program's own first thread has: those of tests have a quarter of it.
    let ended = std::thread::scope(|scope| {
        let run = || RUNTIME.block_on(cli.command.run(&program));
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run);
        thread.expect("a thread starts").join()
    });
    let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let text = std::fs::read_to_string(folder.join(&report)).unwrap_or_default();
    let stdout = stdout.0.lock().expect("nothing panics while it holds this").clone();
    Ran {
        exit: ended.as_ref().map_or_else(|error| error.exit(), |exit| *exit).code().into(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: ended.err().map(|error| error.to_string()).unwrap_or_default(),
        reports: parse_json(&text).expect("a report is JSON"),
    }
}

/// Rows of the whole table.
pub fn rows(lake: &Lake, table: &str) -> Result<Vec<Value>, String> {
    let ran = run(lake, &["query", "--full-scan", &format!("SELECT * FROM {table}")]);
    if ran.exit == 0 { parse_json(&ran.stdout) } else { Err(format!("the query ended {}: {}", ran.exit, ran.stderr)) }
}
