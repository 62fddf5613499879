//! Creates a session, publishes a hundred events and tells what became of each:
//! `cargo run -p agentbench-client --example publish -- ws://127.0.0.1:3001 TOKEN`.

use agentbench_client::{Client, Config, Data, Event, NewSession, Outcome};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(token)) = (arguments.next(), arguments.next()) else {
        return Err("usage: publish URL TOKEN".into());
    };
    let client = Client::connect(Config::new(url).token(token)).await?;
    let session = client.create_session(NewSession::new("example", "example", "example")).await?.session_id;
    println!("session {session}");
    client.start_test(session).await?;

    let mut tickets = Vec::new();
    for step in 1..=100 {
        let data = Data::json(&serde_json::json!({"eventType": "automation_step", "step": step}))?;
        tickets.push(client.publish(session, Event::new(data)).await?);
    }
    for ticket in tickets {
        match ticket.await {
            Outcome::Stored { seq, .. } => println!("stored as {seq}"),
            Outcome::Refused(why) => println!("refused: {}", why.error),
            Outcome::Unknown { why, .. } => println!("unknown: {why}"),
        }
    }
    client.close().await;
    Ok(())
}
