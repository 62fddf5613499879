//! Warnings in acks: the event is stored, and readers will not understand a field that they compute with.

use serde::{Deserialize, Serialize};

use crate::error::Refusal;

/// A field of a known event type that readers will not understand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Warning {
    /// The field's path, for example `data.score`.
    pub field: String,
    /// What it should be.
    pub detail: String,
}

/// A field that may be in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubtful {
    /// `data.score` of a score.
    Score,
    /// `data.max` of a score.
    Max,
    /// `data.percent` of progress.
    Percent,
    /// `data.hash` of evidence.
    Hash,
    /// No file with the evidence's hash was uploaded.
    Upload,
}

impl Doubtful {
    const ALL: [Self; 5] = [Self::Score, Self::Max, Self::Percent, Self::Hash, Self::Upload];

    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Score => ("data.score", "data.score must be a number"),
            Self::Max => ("data.max", "data.max must be a number above 0"),
            Self::Percent => ("data.percent", "data.percent must be a number from 0 to 100"),
            Self::Hash => ("data.hash", "data.hash must be 64 lowercase hexadecimal digits, a BLAKE3 hash"),
            Self::Upload => ("data.hash", "no evidence with this hash was uploaded to the session"),
        }
    }
}

/// All that is in doubt of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Doubts {
    bits: u8,
    /// The hash of the evidence that an event names: it should have been uploaded.
    pub evidence: Option<[u8; 32]>,
}

impl Doubts {
    /// Nothing.
    pub const NONE: Self = Self { bits: 0, evidence: None };

    /// Puts a field in doubt if `is_doubtful`.
    pub fn set(&mut self, field: Doubtful, is_doubtful: bool) {
        self.bits |= u8::from(is_doubtful) << field as u8;
    }

    /// Whether nothing is in doubt, and nothing has to be looked up.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// A warning for each doubtful field.
    pub fn warnings(self) -> Vec<Warning> {
        let doubtful = Doubtful::ALL.into_iter().filter(|field| self.bits >> *field as u8 & 1 == 1);
        let warning = |(field, detail): (&str, &str)| Warning { field: field.into(), detail: detail.into() };
        doubtful.map(|field| warning(field.texts())).collect()
    }

    /// The refusal of the first doubtful field, for publishers that want no warnings.
    ///
    /// # Errors
    /// If a field is in doubt.
    pub fn refuse(self) -> Result<(), Refusal> {
        match self.warnings().into_iter().next() {
            Some(warning) => Err(Refusal::invalid(warning.field, warning.detail)),
            None => Ok(()),
        }
    }
}
