//! One page of a scan, read from one shard.
//!
//! A page never spans shards: a walk over everything ends its page where the shard ends, and the cursor goes on behind it.
//! So every page has one leader to ask, and a shard that is split or moved between two pages makes no difference.

use bytes::Bytes;
use ringfence_proto::v1;
use ringfence_state_machine::{ReadRefusal, ScanQuery, scan};
use ringfence_storage::StateDb;
use ringfence_types::RingPosition;
use ringfence_types::limits::SCAN_PAGE_BYTES_SOFT_MAX;

use crate::answer::{Answering, key_value};
use crate::call::Scan;
use crate::cursor::Cursor;
use crate::grpc::status;

/// Records that one page looks at, at the most, however few pass the filter: some tens of milliseconds of reading.
const EXAMINED_MAX: usize = 20_000;

/// Reads a page on a thread of its own, because it may take long.
pub(crate) async fn page(
    state: StateDb,
    answering: Answering,
    scan: &Scan,
) -> Result<Result<v1::ScanResponse, ReadRefusal>, v1::Error> {
    let query = ScanQuery {
        prefix: scan.prefix.clone(),
        position: scan.position,
        from: scan.from.clone(),
        to: scan.to.clone(),
        after: scan.after.as_ref().map(|after| (after.position, after.key.clone())),
        limit_items: scan.limit_items,
        limit_bytes: SCAN_PAGE_BYTES_SOFT_MAX,
        keys_only: scan.keys_only,
        at: None,
        examined_max: EXAMINED_MAX,
    };
    let shard = answering.shard;
    let read = tokio::task::spawn_blocking(move || {
        let view = state.snapshot_view().map_err(|error| status::internal(&error.to_string()))?;
        self::scan_view(&view, shard, &query)
    });
    let answer = match read.await {
        Ok(answer) => answer?,
        Err(error) => return Err(status::internal(&format!("a scan did not finish: {error}"))),
    };
    Ok(answer.map(|answer| {
        let page = answer.value;
        let next = match (page.resume, scan.position) {
            (Some((position, key)), _) => Some(Cursor { position, key }),
            (None, Some(_)) => None,
            (None, None) => behind(page.range.last).map(|position| Cursor { position, key: Bytes::new() }),
        };
        v1::ScanResponse {
            header: answering.header(answer.clock),
            kvs: page.items.into_iter().map(key_value).collect(),
            next_cursor: next.map(|cursor| cursor.encode(&scan.identity())).unwrap_or_default(),
            filtered: scan.position.is_none(),
        }
    }))
}

type Read = Result<ringfence_state_machine::ReadAnswer<ringfence_state_machine::ScanPage>, ReadRefusal>;

fn scan_view(
    view: &dyn ringfence_state_machine::View,
    shard: ringfence_types::ShardId,
    query: &ScanQuery,
) -> Result<Read, v1::Error> {
    scan(view, shard, query).map_err(|error| status::unreadable(shard, &error))
}

/// The position after this one; none after the last of the ring.
fn behind(position: RingPosition) -> Option<RingPosition> {
    position.0.checked_add(1).map(RingPosition)
}
