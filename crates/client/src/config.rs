use std::time::Duration;

/// How a [`crate::Client`] behaves. The defaults suit a service; a struct update sets the rest:
///
/// ```
/// use std::time::Duration;
/// use ringfence_client::ClientConfig;
///
/// let config = ClientConfig { timeout: Duration::from_secs(2), ..ClientConfig::new(["10.0.0.1:7401", "10.0.0.2:7401"]) };
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Nodes to begin with, as `host:port` or `http://host:port`. One that answers is enough: it names the others.
    pub endpoints: Vec<String>,
    /// Deadline of a call that does not set its own, retries included.
    pub timeout: Duration,
    /// Most calls under way at once, over all clones. Further ones wait, within their deadline.
    pub max_in_flight: usize,
    /// Most bytes of keys and values under way at once, over all clones. Further ones wait, within their deadline.
    pub max_in_flight_bytes: usize,
    /// Plain unary gRPC calls instead of one shared stream per node. Slower when many calls run at once; here to measure
    /// by how much, and for proxies that break long streams.
    pub unary: bool,
}

impl ClientConfig {
    /// The defaults: 10 s, 4096 calls, 64 MiB, shared streams.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> ClientConfig {
        ClientConfig {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(10),
            max_in_flight: 4096,
            max_in_flight_bytes: 64 << 20,
            unary: false,
        }
    }
}

/// Why there is no client. Nothing was sent but the question what the cluster looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The configuration names no node.
    #[error("no endpoints; give at least one node as host:port")]
    NoEndpoints,
    /// Not `host:port`.
    #[error("{endpoint:?} is not an endpoint: {why}. Give host:port or http://host:port")]
    InvalidEndpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// No node answered in time. Safe to try again.
    #[error("no node answered within {timeout:?}: {tried}. Is the cluster running, and is this its address?")]
    Unreachable {
        /// The deadline.
        timeout: Duration,
        /// Each endpoint, and what became of it.
        tried: String,
    },
}

/// `host:port` out of what people write.
pub(crate) fn parse_endpoint(endpoint: &str) -> Result<String, ConnectError> {
    let invalid = |why: &str| ConnectError::InvalidEndpoint { endpoint: endpoint.to_owned(), why: why.to_owned() };
    if endpoint.starts_with("https://") {
        return Err(invalid("TLS is not supported yet"));
    }
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    let Some((host, port)) = address.rsplit_once(':') else { return Err(invalid("the port is missing")) };
    if host.is_empty() {
        return Err(invalid("the host is missing"));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(invalid("an IPv6 address stands in brackets, as in [::1]:7401"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(address.to_owned()),
        _ => Err(invalid("the port is not a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_as_people_write_them() {
        for (given, address) in [
            ("127.0.0.1:7401", "127.0.0.1:7401"),
            ("http://node-1.example:7401/", "node-1.example:7401"),
            ("[::1]:7401", "[::1]:7401"),
        ] {
            assert_eq!(parse_endpoint(given).as_deref(), Ok(address));
        }
        for given in ["", "localhost", ":7401", "host:", "host:0", "host:70000", "::1:7401", "https://host:7401"] {
            assert!(matches!(parse_endpoint(given), Err(ConnectError::InvalidEndpoint { .. })), "{given:?}");
        }
    }
}
