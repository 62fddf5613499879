//! One agent of the demo: it creates a session, plays its script into it, ends it, and starts over.

use std::time::Duration;

use agentbench_client::{Client, Config, Data, Event, NewSession, Publisher, SessionId};
use agentbench_evidence::Hash;
use agentbench_http_client::{Request, header};
use agentbench_protocol::Outcome;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::PROJECT;
use super::picture::{self, Screen};
use super::script::{self, Action};
use super::story::Story;
use crate::api::{self, Server};

/// Time between two runs, and before a retry after a failed one.
const REST: Duration = Duration::from_secs(12);

pub(super) struct Player {
    client: Client,
    judge: Client,
    http: Server,
    story: &'static Story,
    seed: u64,
    speed: f64,
}

/// How a run ended.
enum RunEnd {
    Completed,
    /// The server is stopping.
    Stopped,
}

impl Player {
    pub(super) async fn connect(
        url: &str,
        token: String,
        judge: Client,
        story: &'static Story,
        seed: u64,
        speed: f64,
    ) -> anyhow::Result<Self> {
        let http = Server::new(url, None, token.clone())?;
        let config = Config::new(url).token(token).producer_id(story.user);
        let client = Client::connect(config).await.with_context(|| format!("the demo's {}", story.agent))?;
        Ok(Self { client, judge, http, story, seed, speed })
    }

    /// Plays one run after another until the server stops.
    pub(super) async fn run(self, delay: Duration, mut stopped: watch::Receiver<bool>) {
        let mut seed = self.seed;
        let mut wait = delay;
        while !rest(wait, &mut stopped).await {
            match self.play(seed, &mut stopped).await {
                Ok(RunEnd::Completed) => {}
                Ok(RunEnd::Stopped) => break,
                Err(error) => {
                    tracing::warn!(
                        agent = self.story.agent,
                        error = format!("{error:#}"),
                        "a run of the demo failed"
                    );
                }
            }
            seed = seed.wrapping_add(1);
            wait = self.pace(REST.as_millis() as u64);
        }
        self.client.close().await;
    }

    fn pace(&self, ms: u64) -> Duration {
        Duration::from_secs_f64(ms as f64 / 1000.0 / self.speed)
    }

    async fn play(&self, seed: u64, stopped: &mut watch::Receiver<bool>) -> anyhow::Result<RunEnd> {
        let metadata = Data::json(&json!({"demo": true, "seed": seed}))?;
        let new = NewSession::new(PROJECT, self.story.test, self.story.agent).metadata(metadata);
        let session = self.client.create_session(new).await?.session_id;
        let script = script::write(self.story, seed);
        let played = self.perform(session, &script, stopped).await;
        let (outcome, reason) = match &played {
            Ok(RunEnd::Completed) if script.succeeded => (Outcome::Completed, None),
            Ok(RunEnd::Completed) => (Outcome::Error, Some("the agent did not reach its goal".to_owned())),
            Ok(RunEnd::Stopped) => (Outcome::Completed, Some("the demo was ended".to_owned())),
            Err(_) => (Outcome::Error, Some("the demo's run failed".to_owned())),
        };
        let ended = self.client.stop_test(session, outcome, reason).await;
        // A connection runs many sessions in turn, and should not remain a participant of ended ones.
        let _ = (self.client.leave(session).await, self.judge.leave(session).await);
        let played = played?;
        ended.context("the session could not be ended")?;
        Ok(played)
    }

    async fn perform(
        &self,
        session: SessionId,
        script: &script::Script,
        stopped: &mut watch::Receiver<bool>,
    ) -> anyhow::Result<RunEnd> {
        self.client.start_test(session).await?;
        let agent = self.client.publisher(session).await?;
        let judge = self.judge.publisher(session).await?;
        for beat in &script.beats {
            if rest(self.pace(beat.after_ms), stopped).await {
                return Ok(RunEnd::Stopped);
            }
            match &beat.action {
                Action::Event { id, data } => publish(&agent, id.as_deref(), data).await?,
                Action::Verdict(data) => publish(&judge, None, data).await?,
                Action::Screenshot { screen, caption, of } => {
                    let data = self.take_screenshot(session, screen, caption, of).await?;
                    publish(&agent, None, &data).await?;
                }
            }
        }
        Ok(RunEnd::Completed)
    }

    /// Draws and uploads a screenshot. Returns the event that refers to it.
    async fn take_screenshot(
        &self,
        session: SessionId,
        screen: &Screen,
        caption: &str,
        of: &str,
    ) -> anyhow::Result<Value> {
        let png = screen.draw()?;
        let (hash, size) = (Hash::of(&png), png.len());
        let request = Request::put(format!("/api/v1/evidence/{hash}?sessionId={session}"));
        let request = request.header(header::CONTENT_TYPE, "image/png");
        let response = self.http.send_in_time(request, png.into()).await?;
        if !response.status().is_success() {
            bail!("a screenshot was refused: {}", api::refusal(response).await?);
        }
        Ok(json!({
            "eventType": "evidence", "kind": "screenshot", "hash": hash.to_string(), "contentType": "image/png",
            "size": size, "width": picture::WIDTH, "height": picture::HEIGHT, "caption": caption, "of": of,
        }))
    }
}

/// Publishes an event and waits for the ack, so that a slow server slows the demo down.
async fn publish(publisher: &Publisher, id: Option<&str>, data: &Value) -> anyhow::Result<()> {
    let mut event = Event::new(Data::json(data)?);
    if let Some(id) = id {
        event = event.id(id);
    }
    let outcome = publisher.publish(event).await?.await;
    anyhow::ensure!(outcome.is_stored(), "an event was not stored: {outcome:?}");
    Ok(())
}

/// Waits for `time`. Returns whether the server is stopping.
async fn rest(time: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => true,
        () = tokio::time::sleep(time) => false,
    }
}
