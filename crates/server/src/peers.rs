//! Connections to other nodes.

use std::time::Duration;

use ringfence_proto::v1;
use ringfence_proto::v1::cluster_service_client::ClusterServiceClient;
use ringfence_types::ShardId;
use ringfence_types::limits::GRPC_MESSAGE_BYTES_MAX;
use tonic::transport::{Channel, Endpoint};

/// A peer that does not even accept a connection for this long is treated as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection on which nothing comes back is probed this often, and given up after the timeout: a peer that lost its
/// power sends no goodbye. Longer than any pause of a healthy machine, shorter than a person's patience.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// See [`KEEPALIVE_INTERVAL`].
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes that may be on their way on one stream, and on one connection: more than the bandwidth of 10 Gbit/s times 2 ms,
/// and enough for the largest message in one piece.
pub(crate) const STREAM_WINDOW_BYTES: u32 = GRPC_MESSAGE_BYTES_MAX as u32;
/// See [`STREAM_WINDOW_BYTES`].
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 2 * STREAM_WINDOW_BYTES;

/// Connects to a node's gRPC port.
pub(crate) async fn connect(address: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect()
        .await
}

/// What the node at an address says of itself, if it says so in this time.
pub(crate) async fn status(address: &str, within: Duration) -> Option<v1::StatusResponse> {
    let ask = async {
        let channel = connect(address).await.ok()?;
        let request = v1::StatusRequest { shard: Some(ShardId::META.0) }; // its replicas are not asked for
        Some(ClusterServiceClient::new(channel).status(request).await.ok()?.into_inner())
    };
    tokio::time::timeout(within, ask).await.ok()?
}

/// The cluster as the node at an address knows it, if it tells in this time.
pub(crate) async fn describe(address: &str, within: Duration) -> Option<v1::DescribeResponse> {
    let ask = async {
        let channel = connect(address).await.ok()?;
        let response = ClusterServiceClient::new(channel).describe(v1::DescribeRequest {}).await.ok()?;
        Some(response.into_inner())
    };
    tokio::time::timeout(within, ask).await.ok()?
}
