//! Opens many links, with a bounded number of concurrent handshakes.

use std::rc::Rc;

use anyhow::Context;
use tokio::task::JoinSet;

use super::dialect::Dialect;
use super::link::{Link, Shared};
use super::place::Place;

/// Concurrent handshakes: below the backlog of an ordinary listener (128 in old systems).
const AT_ONCE: usize = 100;

/// Opens `count` links; `make` returns the dialect of each. They are returned in no particular order.
///
/// # Errors
/// The first failure, with the number of links open by then.
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
        let opened = opening.join_next().await.context("fewer connections than were started")?;
        let link = opened.context("a connection panicked")?;
        links.push(link.with_context(|| format!("after {} of {count} connections", links.len()))?);
    }
    Ok(links)
}
