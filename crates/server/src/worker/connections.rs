//! The connections of one worker, in a slab indexed by their keys.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use agentbench_session::ConnectionKey;
use slab::Slab;

use super::connection::Connection;
use crate::names;

/// See the module.
pub(crate) struct Connections {
    worker: usize,
    table: RefCell<Slab<Rc<Connection>>>,
    serial: Cell<u64>,
}

impl Connections {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, table: RefCell::default(), serial: Cell::new(0) }
    }

    /// Inserts a connection, created by `make` from its key and serial number.
    pub(crate) fn insert(&self, make: impl FnOnce(ConnectionKey, u64) -> Connection) -> Rc<Connection> {
        let mut table = self.table.borrow_mut();
        let serial = self.serial.get();
        self.serial.set(serial + 1);
        let place = table.vacant_entry();
        let key = names::connection_key(self.worker, place.key(), serial);
        Rc::clone(place.insert(Rc::new(make(key, serial))))
    }

    pub(crate) fn remove(&self, key: ConnectionKey) {
        self.table.borrow_mut().try_remove(names::place_of(key));
    }

    /// The connection with this key, if it is still there.
    pub(crate) fn get(&self, key: ConnectionKey) -> Option<Rc<Connection>> {
        let table = self.table.borrow();
        table.get(names::place_of(key)).filter(|connection| connection.reader.key == key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Rc<Connection>> {
        self.table.borrow().iter().map(|(_, connection)| Rc::clone(connection)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.borrow().is_empty()
    }

    /// The connection whose unfinished message began first.
    pub(crate) fn oldest_unfinished(&self) -> Option<Rc<Connection>> {
        let table = self.table.borrow();
        let open = table.iter().map(|(_, connection)| connection).filter(|it| it.is_open());
        let begun = open.filter_map(|connection| Some((connection.input.unfinished_since()?, connection)));
        begun.min_by_key(|(since, _)| *since).map(|(_, connection)| Rc::clone(connection))
    }
}
