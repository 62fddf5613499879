//! The Node process that runs the TypeScript SDK: one for all clients, with lines of JSON in both directions.
//!
//! One thread writes lines and another reads them; each answer is matched to its requester by number. When the process
//! ends, all requesters are notified.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as lines};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::Step;
use super::typescript::ConnectionState;

/// Version of the line protocol.
const VERSION: u64 = 1;
/// Time limit for starting Node.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Path of a built driver in a checkout.
const BUILT: &str = "web/client/dist/stdio-driver.js";
/// The command that builds it.
const BUILD: &str = "npm --prefix web/client ci && npm --prefix web/client run build";

/// A line from the driver.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Answer {
        id: u64,
        #[serde(flatten)]
        answer: Answer,
    },
    Step {
        follow: u64,
        #[serde(flatten)]
        step: Step,
    },
    Over {
        over: u64,
    },
    Event {
        client: u64,
        event: Value,
    },
    Ready {
        ready: u64,
    },
}

/// An answer: exactly one of the two fields is set.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    /// The result.
    Ok(Value),
    /// The error: `kind`, `message`, and possibly `refusal`.
    Error(Value),
}

/// The pending requests and follows.
#[derive(Default)]
struct Pending {
    has_ended: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    follows: HashMap<u64, mpsc::UnboundedSender<Step>>,
    clients: HashMap<u64, Arc<ConnectionState>>,
}

/// The driver process.
pub struct Driver {
    child: Mutex<Child>,
    lines: lines::Sender<String>,
    waiting: Arc<Mutex<Pending>>,
    last: AtomicU64,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    /// The driver's program: `AGENTBENCH_TS_DRIVER`, or the build in the current checkout.
    ///
    /// # Errors
    /// There is no build; the error says how to create one.
    pub fn find() -> anyhow::Result<PathBuf> {
        if let Some(named) = std::env::var_os("AGENTBENCH_TS_DRIVER").map(PathBuf::from) {
            if named.is_file() {
                return Ok(named);
            }
            bail!("AGENTBENCH_TS_DRIVER is {}, but there is no such file", named.display());
        }
        let here = std::env::current_dir().context("cannot find the current folder")?;
        let found = here.ancestors().map(|folder| folder.join(BUILT)).find(|path| path.is_file());
        found.with_context(|| {
            format!(
                "--client ts needs {BUILT}, which is neither in {} nor in a folder above: run `{BUILD}` in a checkout, or \
                 name the file in AGENTBENCH_TS_DRIVER",
                here.display()
            )
        })
    }

    /// Starts the driver in Node.
    ///
    /// # Errors
    /// Node is missing, or the program is not a driver of this version.
    pub fn start(program: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("node");
        command.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow::anyhow!(
                "--client ts needs Node (20 or later), but there is no `node` on the PATH: install it (apt-get install nodejs)"
            ),
            _ => anyhow::Error::new(error).context("cannot start node"),
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = (stdin.context("node has no input")?, stdout.context("node has no output")?);
        let (to_write, from_us) = lines::channel();
        std::thread::spawn(move || write_lines(stdin, &from_us));
        let waiting = Arc::new(Mutex::new(Pending::default()));
        let (set_ready, ready) = lines::channel();
        let shared = Arc::clone(&waiting);
        std::thread::spawn(move || {
            read_lines(BufReader::new(stdout), &shared, &set_ready);
            end(&shared);
        });
        // From here on, a failure ends the process.
        let driver = Self { child: Mutex::new(child), lines: to_write, waiting, last: AtomicU64::new(0) };
        match ready.recv_timeout(START_PATIENCE) {
            Ok(VERSION) => Ok(driver),
            Ok(other) => bail!(
                "{} uses version {other} of the line protocol, but the suite uses version {VERSION}: run `{BUILD}`",
                program.display()
            ),
            Err(_) => bail!("{} does not start as a driver (see above): run `{BUILD}`", program.display()),
        }
    }

    /// A unique number.
    pub(super) fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends a request. If the process has ended, the channel is closed without an answer.
    pub(super) fn request(&self, what: &str, fields: Value) -> oneshot::Receiver<Answer> {
        self.request_with(what, fields, None)
    }

    /// Like [`Self::request`], with an event's content that is passed on as the same text.
    pub(super) fn request_with(
        &self,
        what: &str,
        mut fields: Value,
        data: Option<&str>,
    ) -> oneshot::Receiver<Answer> {
        let (set_answer, answer) = oneshot::channel();
        let id = self.number();
        fields["do"] = what.into();
        fields["id"] = id.into();
        let mut line = fields.to_string();
        if let Some(data) = data {
            line.pop();
            line.push_str(",\"data\":");
            line.push_str(data);
            line.push('}');
        }
        let mut waiting = lock(&self.waiting);
        if !waiting.has_ended {
            waiting.answers.insert(id, set_answer);
        }
        drop(waiting);
        self.send(line);
        answer
    }

    /// Sends a line that has no answer.
    pub(super) fn write(&self, line: &Value) {
        self.send(line.to_string());
    }

    fn send(&self, line: String) {
        // Fails only if the process has ended, and then the requesters are notified.
        let _ = self.lines.send(line);
    }

    pub(super) fn expect_steps(&self, follow: u64) -> mpsc::UnboundedReceiver<Step> {
        // Bounded by the reader's credit.
        let (give, steps) = mpsc::unbounded_channel();
        let mut waiting = lock(&self.waiting);
        if !waiting.has_ended {
            waiting.follows.insert(follow, give);
        }
        steps
    }

    pub(super) fn forget_follow(&self, follow: u64) {
        lock(&self.waiting).follows.remove(&follow);
        self.write(&json!({"do": "unfollow", "follow": follow}));
    }

    pub(super) fn watch(&self, client: u64, state: Arc<ConnectionState>) {
        lock(&self.waiting).clients.insert(client, state);
    }

    pub(super) fn forget_client(&self, client: u64) {
        lock(&self.waiting).clients.remove(&client);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn write_lines(stdin: ChildStdin, lines: &lines::Receiver<String>) {
    let mut stdin = BufWriter::new(stdin);
    let mut write = |line: &str| writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    // The loop ends with the process, or with the driver.
    while let Ok(line) = lines.recv() {
        if write(&line).is_err() {
            return;
        }
    }
}

fn read_lines(stdout: impl BufRead, waiting: &Mutex<Pending>, ready: &lines::Sender<u64>) {
    for line in stdout.lines() {
        let Ok(line) = line else { return };
        let Ok(parsed) = serde_json::from_str(&line) else {
            eprintln!("unexpected line from the driver of the TypeScript SDK: {line:.200}");
            return;
        };
        let mut waiting = lock(waiting);
        match parsed {
            Line::Answer { id, answer } => {
                if let Some(waits) = waiting.answers.remove(&id) {
                    // The requester may have given up.
                    let _ = waits.send(answer);
                }
            }
            Line::Step { follow, step } => {
                if let Some(give) = waiting.follows.get(&follow) {
                    let _ = give.send(step);
                }
            }
            Line::Over { over } => drop(waiting.follows.remove(&over)),
            Line::Event { client, event } => {
                if let Some(state) = waiting.clients.get(&client) {
                    state.handle(&event);
                }
            }
            Line::Ready { ready: version } => drop(ready.send(version)),
        }
    }
}

/// The driver has ended: closes all channels, which notifies the requesters.
fn end(waiting: &Mutex<Pending>) {
    let mut waiting = lock(waiting);
    waiting.has_ended = true;
    waiting.answers.clear();
    waiting.follows.clear();
    for (_, state) in waiting.clients.drain() {
        state.lost();
    }
}
