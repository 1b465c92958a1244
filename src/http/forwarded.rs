//! The client's address in `X-Forwarded-For`, as a trusted proxy writes it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

/// Maximum length of an entry in the log, in characters.
const MAX_LOGGED_CHARS: usize = 100;

/// Parses an entry of `X-Forwarded-For`. Proxies write an address with a port or without, IPv6 in brackets or
/// without them, and some with a zone. An IPv4 address that is written as IPv6 becomes the IPv4 address.
pub(super) fn parse_address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let without_port = entry.parse::<SocketAddr>().map(|address| address.ip());
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = without_port.or_else(|_| bare.split('%').next().unwrap_or_default().parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// Logs a warning that the proxy forwards no address: once for the process, because every request would.
pub(super) fn warn_unreadable(entry: &str) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| {
        let entry: String = entry.chars().take(MAX_LOGGED_CHARS).collect();
        tracing::warn!(
            entry,
            "X-Forwarded-For ends in no address: rate limits by address count the proxy's address (logged once)"
        );
    });
}
