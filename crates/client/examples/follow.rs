//! Prints a session's log from its first event on, as JSON lines, until the session ends:
//! `cargo run -p agentbench-client --example follow -- ws://127.0.0.1:3001 TOKEN SESSION`.

use agentbench_client::{Client, Config, Item, StartAt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(token), Some(session)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: follow URL TOKEN SESSION".into());
    };
    let client = Client::connect(Config::new(url).token(token)).await?;
    let mut follow = client.follow(session.parse()?, StartAt::Start).await?;
    while let Some(item) = follow.next().await {
        match item {
            Item::Event(event) => println!("{}", event.json()),
            Item::Lifecycle(lifecycle) => println!("{}", lifecycle.entry.json()),
            other => eprintln!("{other:?}"),
        }
    }
    if let Some(why) = follow.ended() {
        eprintln!("the follow is over: {why}");
    }
    Ok(())
}
