//! Parsers of the values of settings. Each refuses invalid values with a sentence.

use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;

use clap::builder::RangedU64ValueParser;
use tracing_subscriber::filter::LevelFilter;

/// An integer in an inclusive range. The help and the README document the same range.
pub(super) fn within<T>(range: RangeInclusive<u64>) -> RangedU64ValueParser<T>
where
    T: TryFrom<u64, Error: Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    RangedU64ValueParser::new().range(range)
}

pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| "an address and a port are needed, such as 127.0.0.1:3000".to_owned())
}

/// An origin as browsers send it: scheme, host and port, nothing after them.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    // An empty value means none, as in an env file.
    if text == "*" || text.is_empty() || is_origin(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("an origin is needed, such as https://chat.example.org, or *".to_owned())
    }
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    // An IPv6 address has colons of its own, in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_word = |text: &str, also: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    is_word(scheme, "+.-")
        && is_word(name, if name == host { "._-" } else { ":." })
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Levels, and targets with a level, separated by commas. The library would take an unknown level for a target, and
/// log nothing else.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    // The library accepts numbers as levels too, which are not readable.
    let is_name = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic());
    let is_level = |word: &str| is_name(word) && word.parse::<LevelFilter>().is_ok();
    let is_target = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || ['_', ':', '-'].contains(&c))
    };
    let is_directive = |directive: &str| match directive.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(directive),
    };
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    match directives.iter().find(|directive| !is_directive(directive)) {
        None => Ok(directives.join(",")),
        Some(directive) => Err(format!(
            "`{directive}` is neither a level (error, warn, info, debug, trace, off) nor a target with one, such as \
             hark=debug"
        )),
    }
}
