//! `agentbench serve --demo`: three simulated agents that run their tests in a loop, so that there is something to watch.
//!
//! They are ordinary clients of the server in the same process: the Rust SDK for events, the HTTP API for evidence. `story`
//! holds what they do, `script` when, `picture` what their browsers show. There are never more than three live sessions.

mod font;
mod picture;
mod player;
mod script;
mod story;

use std::net::SocketAddr;
use std::time::Duration;

use agentbench_auth::{Algorithm, Claims, Permission, Role, SigningKey, sign};
use agentbench_client::{Client, Config, Status};
use agentbench_protocol::Outcome;
use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;

use player::Player;
use story::STORIES;

use crate::serve::browser_address;

/// The project of the demo's sessions.
pub(crate) const PROJECT: &str = "demo";
/// How long the demo's sessions are kept, unless the settings differ.
pub(crate) const KEPT: Duration = Duration::from_secs(6 * 3600);
/// Lifetime of the tokens of the demo's agents and of its link: longer than any demo runs.
const TOKEN_SECONDS: u64 = 30 * 24 * 3600;
/// Time for the agents to end their sessions when the server stops.
const PATIENCE: Duration = Duration::from_secs(5);
/// Variable: factor by which the agents are faster than people (for tests).
const SPEED: &str = "AGENTBENCH_DEMO_SPEED";
/// Variable: seed of the runs.
const SEED: &str = "AGENTBENCH_DEMO_SEED";

/// The running agents.
pub(crate) struct Demo {
    stop: watch::Sender<bool>,
    players: JoinSet<()>,
}

/// Mints the tokens of the participants.
struct Tokens {
    key: SigningKey,
    now: u64,
}

impl Tokens {
    fn make(&self, user: &str, name: &str, role: Role, permissions: &[Permission]) -> anyhow::Result<String> {
        let claims = Claims {
            username: Some(name.to_owned()),
            project_id: Some(PROJECT.to_owned()),
            permissions: permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
            ..Claims::new(user, role, self.now, self.now + TOKEN_SECONDS)
        };
        Ok(sign(&claims, &self.key)?)
    }
}

/// Starts the agents on the server at this address, and prints a link to watch them.
pub(crate) async fn start(address: SocketAddr, secret: &str, now: u64) -> anyhow::Result<Demo> {
    let speed = setting(SPEED, 1.0)?;
    anyhow::ensure!((0.01..=10_000.0).contains(&speed), "{SPEED} must be from 0.01 to 10000");
    let seed = setting(SEED, 1_u64)?;
    let tokens = Tokens { key: SigningKey::from_secret(Algorithm::Hs256, secret.as_bytes())?, now };
    let address = browser_address(address);
    let url = format!("ws://{address}");
    let judge = tokens.make("demo-judge", "Automatic judge", Role::Evaluator, &[])?;
    let judge = Client::connect(Config::new(&url).token(judge)).await.context("the demo's judge")?;
    end_leftovers(&judge).await?;
    let (stop, stopped) = watch::channel(false);
    let mut players = JoinSet::new();
    for (index, story) in STORIES.iter().enumerate() {
        let token = tokens.make(story.user, story.agent, Role::Evaluator, &[])?;
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(index as u64 * 1_000);
        let player = Player::connect(&url, token, judge.clone(), story, seed, speed).await?;
        let stopped = stopped.clone();
        // Staggered, which looks more natural.
        let delay = Duration::from_secs_f64(index as f64 * 4.0 / speed);
        players.spawn(player.run(delay, stopped));
    }
    let watching = [Permission::SessionReview, Permission::ConnectionList];
    let reviewer = tokens.make("demo-reviewer", "Reviewer", Role::Viewer, &watching)?;
    outln!("\nThree agents are at work in the project {PROJECT}. Watch them, and leave notes and scores:\n");
    outln!("  http://{address}/#token={reviewer}\n");
    Ok(Demo { stop, players })
}

impl Demo {
    /// Makes the agents end their sessions.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.players.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("the demo's sessions could not all be ended; the next demo ends them");
        }
    }
}

/// Ends the sessions of a demo that was killed.
async fn end_leftovers(client: &Client) -> anyhow::Result<()> {
    for status in [Status::Idle, Status::Running, Status::Paused] {
        let page = client.list(Some(status), Some(PROJECT.to_owned()), None).await?;
        for session in page.sessions.iter().filter(|session| session.created_by.starts_with("demo-")) {
            let reason = Some("the demo that it belonged to has ended".to_owned());
            if let Err(error) = client.stop_test(session.session_id, Outcome::Error, reason).await {
                tracing::warn!(session = %session.session_id, %error, "a session of an earlier demo could not be ended");
            }
        }
    }
    Ok(())
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|_| anyhow::anyhow!("{name} must be a number, not {text:?}"))
        }
        _ => Ok(default),
    }
}
