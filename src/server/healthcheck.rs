//! `hark healthcheck`: checks whether the server with the same settings is alive. It is the HEALTHCHECK of the
//! container, whose image has no other program that could request `/healthz`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Maximum time for the whole response: less than the timeout that the container sets for the check.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const ALIVE: &[u8] = b"HTTP/1.1 200 ";

/// Requests `/healthz` at the address of `HARK_LISTEN`.
///
/// # Errors
/// A sentence, if no server answers there, or not with 200.
pub async fn healthcheck(listen: SocketAddr) -> Result<(), String> {
    if listen.port() == 0 {
        return Err("HARK_LISTEN has port 0, so the port of the server is unknown".to_owned());
    }
    let address = reachable(listen);
    let response = timeout(RESPONSE_TIMEOUT, ask(address)).await;
    match response {
        Ok(Ok(beginning)) if beginning == ALIVE => Ok(()),
        Ok(Ok(_)) => Err(format!("{address} does not answer 200 at /healthz")),
        Ok(Err(error)) => Err(format!("cannot ask {address}: {error}")),
        Err(_) => Err(format!("{address} does not answer within {} s", RESPONSE_TIMEOUT.as_secs())),
    }
}

/// The address to connect to: loopback if the server listens on all addresses of the machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr) -> std::io::Result<[u8; ALIVE.len()]> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(REQUEST).await?;
    let mut beginning = [0; ALIVE.len()];
    connection.read_exact(&mut beginning).await?;
    Ok(beginning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_the_machine_are_reached_over_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:3000", "127.0.0.1:3000"),
            ("[::]:3000", "[::1]:3000"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), asked);
        }
    }
}
