//! `etl`: the only place that reads the command line, the environment, the clock and chance, and that tells the shell
//! how it ended.

use std::{
    io::{self, IsTerminal},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures::FutureExt;
use jiff::Timestamp;
use jobs::{
    cli::{Cli, OutputForm},
    confirm::Ask,
    error::{Exit, JobError, Kind},
    interrupt::{self, Signal},
    job::{Environment, Ids, Program},
    machine,
    progress::Progress,
    screen::{Paint, Screen},
};
use lake::faults::{Fault, Faults};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The allocator's option that says after how many milliseconds freed pages go back to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// From this memory limit on, freed pages wait for 10 ms instead of 1 ms, which costs a few percent more CPU.
const AMPLE_LIMIT_BYTES: u64 = 1 << 30;

/// Sets after how many milliseconds freed pages go back to the system. The allocator's default is a second: a program that
/// frees and asks for memory all the time then holds up to twice what it uses. `MIMALLOC_PURGE_DELAY` overrides this.
#[expect(unsafe_code, reason = "the allocator's options have no other setter; it takes any number")]
fn give_pages_back_after(millis: std::ffi::c_long) {
    if !is_set("MIMALLOC_PURGE_DELAY") {
        // SAFETY: it stores a number, before other threads run.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, millis) };
    }
}

/// Asks Linux for no huge pages: a page of 2 MiB stays in memory as long as 4 KiB of it are in use. Where Linux refuses, the
/// process only holds more memory.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "nothing that is built here already has a safe call")]
fn refuse_huge_pages() {
    // SAFETY: the call takes numbers and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Threads for reads of local files, at least: each keeps memory of its own, and five hundred keep half a gigabyte.
const BLOCKING_THREADS_MIN: usize = 8;

/// The last panic, with its place in the code.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

fn main() -> ExitCode {
    // The short delay comes first: a page that is freed now keeps the delay of now.
    give_pages_back_after(1);
    #[cfg(target_os = "linux")]
    refuse_huge_pages();
    // Whoever catches a panic says what it means, in one message: a damaged file, or a bug.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!(" ({place})")).unwrap_or_default();
        let text = format!("{}{place}", panic.payload_as_str().unwrap_or("no reason given"));
        tracing::debug!(panic = text, "a thread gave up");
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }));
    let argv: Vec<_> = arguments();
    let args = argv.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let cli = match Cli::read(argv) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told when stdout and stderr are gone.
            _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() });
        }
    };
    // A limit in etl.toml is not known yet: below 1 GiB it gets the longer delay unless the command line or the machine is small.
    if cli.globals.memory_limit.unwrap_or_else(machine::memory_limit_bytes) >= AMPLE_LIMIT_BYTES {
        give_pages_back_after(10);
    }
    let threads = cli.globals.threads.map_or_else(machine::threads, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads((threads * 4).max(BLOCKING_THREADS_MIN))
        .enable_all()
        .build();
    let program = program(&cli, args);
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(run(&cli, program));
            // Threads that block (a slow DNS lookup) must not keep a process that has ended its work.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            program.say_error(&JobError::new(Kind::Failed, format!("failed to start threads: {error}")));
            Exit::Failed
        }
    };
    ExitCode::from(exit.code())
}

fn program(cli: &Cli, args: Vec<String>) -> Program {
    let environment = Environment {
        has_region: is_set("AWS_REGION") || is_set("AWS_DEFAULT_REGION"),
        has_profile: is_set("AWS_PROFILE"),
        has_endpoint_url: ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_GLUE"].into_iter().any(is_set),
        temporary: std::env::temp_dir(),
    };
    let colours = !is_set("NO_COLOR");
    let is_terminal = io::stderr().is_terminal();
    let progress = Progress::new(is_terminal && !cli.globals.quiet);
    let verbosity = if cli.globals.quiet { -1 } else { i16::from(cli.globals.verbose) };
    progress.log(cli.globals.log_format, verbosity, is_terminal, colours && is_terminal);
    let paint = Paint { enabled: colours && io::stdout().is_terminal() && cli.globals.output == OutputForm::Text };
    Program {
        globals: cli.globals.clone(),
        environment,
        args,
        clock: clock(),
        system_clock: system_now,
        ids: Ids { run: Arc::new(run_id), random: Arc::new(Uuid::new_v4) },
        screen: Screen::new(Box::new(io::stdout()), paint),
        ask: (io::stdin().is_terminal() && is_terminal).then(|| ask(progress.clone())),
        progress,
        interrupt: interrupt::Interrupt::never(),
        faults: faults(),
        lake: None,
        reports: Arc::default(),
    }
}

/// Asks on the terminal. Only a plain yes is one.
fn ask(progress: Progress) -> Ask {
    Arc::new(move |question| {
        progress.say(&format!("{question} [y/N]"));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes")
    })
}

async fn run(cli: &Cli, mut program: Program) -> Exit {
    let (stop, interrupt) = interrupt::channel();
    program.interrupt = interrupt;
    let (faults, progress) = (program.faults.clone(), program.progress.clone());
    if let Err(error) = listen(stop) {
        tracing::warn!("signals are not caught: {error}");
    }
    let ended = AssertUnwindSafe(cli.command.run(&program)).catch_unwind().await.unwrap_or_else(|_| Err(bug()));
    if let Some(faults) = faults {
        progress.say(&format!("fault.steps={}", faults.steps()));
    }
    match ended {
        Ok(exit) => exit,
        Err(error) => {
            program.say_error(&error);
            let mut report = program.report(cli.command.name(), None);
            report.fail(&error);
            if let Err(error) = program.write_report(&report).await {
                program.say_error(&error);
            }
            error.exit()
        }
    }
}

/// A panic that nobody expected.
fn bug() -> JobError {
    let panic = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    JobError::new(Kind::Failed, format!("etl stopped at a bug of its own: {panic}")).with_help(
        "please report it with this message; the same command again finds out what was committed, and does the rest",
    )
}

/// Turns the first SIGINT or SIGTERM into a request to stop.
fn listen(stop: watch::Sender<Option<Signal>>) -> io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminates = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let asked = tokio::select! {
            _ = interrupts.recv() => Signal::Interrupt,
            _ = terminates.recv() => Signal::Terminate,
        };
        stop.send_replace(Some(asked));
        // Later signals are heard and change nothing: a commit under way ends on its own deadline.
        loop {
            tokio::select! { _ = interrupts.recv() => {}, _ = terminates.recv() => {} }
        }
    });
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is where the command line is read")]
fn arguments() -> Vec<std::ffi::OsString> {
    std::env::args_os().collect()
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The clock; for tests it stands still at `ETL_NOW`, in builds for development only.
fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    match for_tests("ETL_NOW").and_then(|time| time.parse().ok()) {
        Some(time) => Arc::new(move || time),
        None => Arc::new(now),
    }
}

/// Faults on purpose, for tests: `ETL_FAULT=12:before`, or `count`, in builds for development only.
fn faults() -> Option<Faults> {
    let text = for_tests("ETL_FAULT")?;
    // What is no fault is counted only, and the test that wanted one finds that nothing happened.
    Some(Faults::new(text.parse().ok(), |fault| {
        let signal = if fault == Fault::Pause { "-STOP" } else { "-KILL" };
        let id = std::process::id().to_string();
        if std::process::Command::new("kill").args([signal, &id]).status().is_err() {
            tracing::error!("there is no program `kill`");
        }
    }))
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn for_tests(name: &str) -> Option<String> {
    if cfg!(debug_assertions) { std::env::var(name).ok() } else { None }
}

#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
fn system_now() -> SystemTime {
    SystemTime::now()
}

fn run_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds))
}
