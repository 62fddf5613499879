//! Turns a story and a seed into a schedule: the same seed gives the same run, dot by dot.

use serde_json::{Value, json};

use super::picture::{Colour, Screen};
use super::story::{Step, Story};

/// An action, and the time after the previous one.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) after_ms: u64,
    pub(super) action: Action,
}

/// An action of the agent or the judge.
#[derive(Debug)]
pub(super) enum Action {
    /// The agent publishes an event, with this id if later ones refer to it.
    Event { id: Option<String>, data: Value },
    /// The automatic judge publishes a score.
    Verdict(Value),
    /// The agent takes a screenshot that belongs to an event.
    Screenshot { screen: Screen, caption: String, of: String },
}

/// A whole run.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) beats: Vec<Beat>,
    /// Whether the agent reached its goal.
    pub(super) succeeded: bool,
}

/// Pseudo-random numbers from a seed (`SplitMix64`, Steele, Lea and Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn from(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }
}

struct Writer<'a> {
    story: &'a Story,
    chance: Chance,
    beats: Vec<Beat>,
    /// Number of things that went wrong.
    troubles: u64,
}

/// The run of a story for this seed.
pub(super) fn write(story: &Story, seed: u64) -> Script {
    let mut writer = Writer { story, chance: Chance(seed), beats: Vec::new(), troubles: 0 };
    writer.event(400, json!({"eventType": "console_log", "level": "info", "message": format!("{} begins {}", story.agent, story.test)}));
    writer.event(300, json!({"eventType": "progress", "percent": 0, "message": "starting"}));
    for (index, step) in story.steps.iter().enumerate() {
        writer.step(index, step);
        if index % 2 == 1 || index + 1 == story.steps.len() {
            writer.scores(index + 1);
        }
    }
    // An agent that failed at nearly every trap has not reached its goal.
    let traps = story.steps.iter().filter(|step| step.trouble.is_some()).count() as u64;
    let succeeded = writer.troubles < traps.max(2);
    let (level, words) =
        if succeeded { ("info", "reached the goal") } else { ("warn", "did not reach the goal") };
    writer.event(
        900,
        json!({"eventType": "console_log", "level": level, "message": format!("{} {words}", story.agent)}),
    );
    Script { beats: writer.beats, succeeded }
}

impl Writer<'_> {
    fn push(&mut self, after_ms: u64, action: Action) {
        self.beats.push(Beat { after_ms, action });
    }

    fn event(&mut self, after_ms: u64, data: Value) {
        self.push(after_ms, Action::Event { id: None, data });
    }

    fn step(&mut self, index: usize, step: &Step) {
        let total = self.story.steps.len();
        let (step_id, begun) = (format!("step-{}", index + 1), self.beats.len());
        let of = |status: &str| json!({"eventType": "automation_step", "stepId": step_id, "name": step.name, "status": status, "index": index + 1, "total": total});
        let think = self.chance.from(2_000, 6_000);
        self.push(think, Action::Event { id: Some(step_id.clone()), data: of("running") });
        let page = format!("{}{}", self.story.host, step.path);
        self.request("GET", &page, 200);
        let fails = step.trouble.filter(|_| self.chance.one_in(3));
        self.screenshot(index, step, 0, None, &step_id);
        for (typed, (label, _)) in step.fields.iter().enumerate() {
            let pause = self.chance.from(2_200, 5_000);
            self.event(pause, json!({"eventType": "console_log", "level": "debug", "message": format!("typed into {label}"), "source": page, "line": 10 + typed}));
            self.screenshot(index, step, typed + 1, None, &step_id);
        }
        let (method, path) = step.request;
        let status = if fails.is_some() && self.chance.one_in(2) { 503 } else { 200 };
        self.request(method, &format!("{}{path}", self.story.host), status);
        let mut ended = of(if fails.is_some() { "failed" } else { "passed" });
        if let Some(trouble) = fails {
            self.troubles += 1;
            self.event(300, json!({"eventType": "error", "message": trouble, "code": if status == 503 { "HTTP_503" } else { "ASSERTION" }, "fatal": false}));
            self.screenshot(index, step, step.fields.len(), Some((trouble, Colour::Red)), &step_id);
            ended["error"] = trouble.into();
        } else {
            self.screenshot(index, step, step.fields.len(), Some(("done", Colour::Green)), &step_id);
        }
        let took: u64 = self.beats[begun + 1..].iter().map(|beat| beat.after_ms).sum();
        ended["durationMs"] = (took + 250).into();
        self.event(250, ended);
        let percent = (index + 1) * 100 / total;
        self.event(150, json!({"eventType": "progress", "percent": percent, "message": step.name}));
    }

    fn request(&mut self, method: &str, url: &str, status: u16) {
        let took = self.chance.from(18, if status == 200 { 420 } else { 5_000 });
        let size = self.chance.from(300, 48_000);
        let mut data = json!({"eventType": "network_request", "method": method, "url": url, "status": status, "durationMs": took, "size": size});
        if status >= 500 {
            data["error"] = "Service Unavailable".into();
        }
        self.event(took, data);
    }

    /// Takes a screenshot of the page with `typed` fields filled in.
    fn screenshot(
        &mut self,
        index: usize,
        step: &Step,
        typed: usize,
        notice: Option<(&str, Colour)>,
        of: &str,
    ) {
        let field = |(place, (label, value)): (usize, &(&str, &str))| {
            let shown = if place < typed { *value } else { "" };
            ((*label).to_owned(), shown.to_owned())
        };
        let screen = Screen {
            address: format!("{}{}", self.story.host, step.path),
            title: step.title.to_owned(),
            fields: step.fields.iter().enumerate().map(field).collect(),
            button: step.button.to_owned(),
            notice: notice.map(|(text, colour)| (text.to_owned(), colour)),
            accent: self.story.accent,
            percent: (index * 100 + typed * 100 / (step.fields.len() + 1)) / self.story.steps.len(),
            pointer: if notice.is_some() { step.fields.len() } else { typed },
        };
        let caption = match notice {
            Some((text, _)) => format!("{}: {text}", step.name),
            None => step.name.to_owned(),
        };
        let pause = self.chance.from(500, 2_000);
        self.push(pause, Action::Screenshot { screen, caption, of: of.to_owned() });
    }

    /// The judge's scores after `done` steps; troubles lower them.
    fn scores(&mut self, done: usize) {
        let share = 1.0 - self.troubles as f64 / (done as f64 + 1.0);
        for (criterion, base) in [("correctness", 1.0), ("care", 0.92), ("speed", 0.85)] {
            let noise = self.chance.from(0, 80) as f64 / 1000.0;
            let score = ((base * share - noise).clamp(0.0, 1.0) * 100.0).round() / 100.0;
            let comment = format!("after {done} of {} steps", self.story.steps.len());
            let data = json!({"eventType": "score_update", "criterion": criterion, "score": score, "max": 1, "comment": comment});
            self.push(350, Action::Verdict(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agentbench_protocol::events::EventData;

    use super::super::story::STORIES;
    use super::*;

    fn data(script: &Script) -> impl Iterator<Item = &Value> {
        script.beats.iter().filter_map(|beat| match &beat.action {
            Action::Event { data, .. } | Action::Verdict(data) => Some(data),
            Action::Screenshot { .. } => None,
        })
    }

    #[test]
    fn a_seed_gives_one_run_and_another_gives_another() {
        for story in &STORIES {
            let text = |seed| format!("{:?}", write(story, seed).beats);
            assert_eq!(text(7), text(7));
            assert_ne!(text(7), text(8));
        }
    }

    #[test]
    fn runs_are_whole_take_minutes_and_speak_the_protocol() {
        let (mut good, mut bad) = (0, 0);
        for (story, seed) in STORIES.iter().flat_map(|story| (0..40).map(move |seed| (story, seed))) {
            let script = write(story, seed);
            let minutes = script.beats.iter().map(|beat| beat.after_ms).sum::<u64>() / 1000;
            assert!((30..600).contains(&minutes), "{} takes {minutes} s", story.agent);
            let mut steps = BTreeMap::new();
            for data in data(&script) {
                let known: EventData = serde_json::from_value(data.clone()).unwrap();
                assert!(!matches!(known, EventData::Other), "{data}");
                if data["eventType"] == "automation_step" {
                    steps.insert(data["stepId"].to_string(), data["status"].to_string());
                }
            }
            assert_eq!(steps.len(), story.steps.len());
            assert!(steps.values().all(|status| status != "\"running\""), "each step ends: {steps:?}");
            let progress = data(&script).filter(|data| data["eventType"] == "progress");
            assert_eq!(progress.last().unwrap()["percent"], 100);
            if script.succeeded { good += 1 } else { bad += 1 }
        }
        assert!(good > bad && bad > 0, "{good} reach their goal, {bad} do not");
    }
}
