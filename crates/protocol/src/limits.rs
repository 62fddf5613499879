//! Limits of the protocol itself, each with its reason. Limits that an operator may choose are settings of the server.

/// Longest `id` of a message or command, in characters: long enough for a UUID with a prefix, short enough that
/// the dedupe window can hold tens of thousands.
pub const MAX_ID_CHARS: usize = 128;
/// Longest producer id, in characters; it is stored with every event.
pub const MAX_PRODUCER_CHARS: usize = 128;
/// Deepest nesting of `data` and `metadata`, including their own outermost object. Common parsers stop at 127 (serde_json), and
/// readers receive these wrapped in up to five levels: an array of messages, an envelope, its `data`, a page of history.
pub const MAX_DATA_DEPTH: u32 = 120;
/// Deepest nesting of a MessagePack message that is converted at all; deeper ones are refused as malformed. Far above
/// [`MAX_DATA_DEPTH`], so that a message is refused by its id; it limits the state of the conversion (8 bytes per level).
pub const MAX_MSGPACK_DEPTH: usize = 65_536;
/// Maximum number of envelopes in one array: limits the work of one frame before the limits are checked again.
pub const MAX_BATCH: usize = 1024;
/// Longest `projectId`, `testId`, `agentName`, user name, reason and other short texts, in characters.
pub const MAX_TEXT_CHARS: usize = 256;
/// Longest `metadata` of an envelope or a session, in bytes: it is repeated in every listing or delivery.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// Longest time to live, ms (one day); events that live longer need none.
pub const MAX_TTL_MS: u32 = 86_400_000;
/// Largest page of `get_session_list`.
pub const MAX_LIST_PAGE: u32 = 500;
/// Default page size of `get_session_list`.
pub const DEFAULT_LIST_PAGE: u32 = 50;
/// Largest page of `get_history`.
pub const MAX_HISTORY_PAGE: u32 = 1000;
/// Maximum number of participants that a presence message or a session info lists; `count` is always the total.
pub const MAX_PRESENCE_LIST: usize = 50;
/// Default port of the server.
pub const DEFAULT_PORT: u16 = 3001;
/// Slowest and fastest replay, as factors of the log's own pace.
pub const REPLAY_SPEED: std::ops::RangeInclusive<f64> = 0.25..=64.0;
