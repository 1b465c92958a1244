//! The client's address as a proxy forwards it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

/// Longest part of a header that is logged, in characters.
const MAX_LOGGED_CHARS: usize = 100;

/// The address of an entry of `X-Forwarded-For`: proxies write it with a port or without, IPv6 in brackets or
/// without them, some with a zone. An IPv4 address that is written as IPv6 is the IPv4 address.
pub(super) fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let without_port = entry.parse::<SocketAddr>().map(|address| address.ip());
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = without_port.or_else(|_| bare.split('%').next().unwrap_or_default().parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// Says once that the proxy forwards what cannot be read. Every request would otherwise.
pub(super) fn warn_unreadable(entry: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let entry: String = entry.chars().take(MAX_LOGGED_CHARS).collect();
        tracing::warn!(
            entry,
            "X-Forwarded-For ends in no address: limits by address count the proxy's own. This is said once"
        );
    });
}
