//! Opening many links, a bounded number of handshakes at a time.

use std::rc::Rc;

use anyhow::Context;
use tokio::task::JoinSet;

use super::dialect::Dialect;
use super::link::{Link, Shared};
use super::place::Place;

/// Handshakes at the same time: below the backlog of an ordinary listener (128 in old systems).
const AT_ONCE: usize = 100;

/// Opens `count` links; `make` is asked for the dialect of each. They come back in no particular order.
///
/// # Errors
/// With the first that fails, and how many were open by then.
pub async fn open_all(
    place: &Place,
    count: usize,
    shared: &Rc<Shared>,
    mut make: impl FnMut(usize) -> anyhow::Result<Box<dyn Dialect>>,
) -> anyhow::Result<Vec<Link>> {
    let (mut links, mut opening, mut begun) = (Vec::with_capacity(count), JoinSet::new(), 0);
    while links.len() < count {
        while begun < count && opening.len() < AT_ONCE {
            let (place, shared, dialect) = (place.clone(), Rc::clone(shared), make(begun)?);
            let source = place.source(begun);
            begun += 1;
            opening.spawn_local(async move { Link::open(&place, source, dialect, &shared).await });
        }
        let opened = opening.join_next().await.context("fewer connections than were begun")?;
        let link = opened.context("a connection panicked")?;
        links.push(link.with_context(|| format!("after {} of {count} connections", links.len()))?);
    }
    Ok(links)
}
