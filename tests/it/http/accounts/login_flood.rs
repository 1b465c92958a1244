//! Login attempts from many addresses at once, each within its own rate limit.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{LOGIN, PASSWORD, SIGN_UP};
use crate::support::{Answer, TestServer, answer, eventually};

async fn post_from(server: &TestServer, address: &str, path: &str, body: &Value) -> Answer {
    answer(server.http("POST", path).header("x-forwarded-for", address).json(body)).await
}

/// The answers that the flood has received so far.
#[derive(Default)]
struct FloodAnswers {
    wrong: AtomicUsize,
    overloaded: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn login_of_a_known_user_goes_ahead_of_a_flood_of_attempts() {
    let server = TestServer::start_with(|config| {
        config.trust_proxy = true;
        config.limits.logins_per_minute = 30;
    })
    .await;
    let home = "192.0.2.1";
    let ann = json!({ "email": "ann@example.org", "password": PASSWORD });
    post_from(&server, home, SIGN_UP, &ann).await.ok(201);
    post_from(&server, home, LOGIN, &ann).await.ok(200);

    // These are more than may wait: the queue takes some hundred for each hashing thread.
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).saturating_sub(1).max(1);
    let (waiting, senders) = (256 * threads, 256 * threads + 144);
    let (received, stop) = (Arc::new(FloodAnswers::default()), Arc::new(AtomicBool::new(false)));
    let mut flood = JoinSet::new();
    for nth in 0..senders {
        let address = format!("10.{}.{}.1", nth / 256, nth % 256);
        let wrong = json!({ "email": format!("nobody{nth}@example.org"), "password": "wrong password" });
        let request = server.http("POST", LOGIN).header("x-forwarded-for", address).json(&wrong);
        let (received, stop) = (Arc::clone(&received), Arc::clone(&stop));
        flood.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = answer(request.try_clone().expect("its body is text")).await;
                match answer.status {
                    401 => received.wrong.fetch_add(1, Ordering::Relaxed),
                    503 => {
                        answer.refused(503, "overloaded");
                        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0), "{answer:?}");
                        received.overloaded.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    // The rate limit of the address applies after so many attempts.
                    429 => return,
                    _ => panic!("{answer:?}"),
                };
            }
        });
    }
    eventually("the queue is full and refuses attempts", async || received.overloaded.load(Ordering::Relaxed) > 100)
        .await;

    let bob = json!({ "email": "bob@example.org", "password": PASSWORD });
    let attempts = [
        // Ann logs in from an address where she has logged in before and from another one; a new user signs
        // up and then logs in.
        (home, LOGIN, &ann, 200),
        ("203.0.113.5", LOGIN, &ann, 200),
        ("198.51.100.7", SIGN_UP, &bob, 201),
        ("198.51.100.7", LOGIN, &bob, 200),
    ];
    for (address, path, body, status) in attempts {
        let before = received.wrong.load(Ordering::Relaxed);
        post_from(&server, address, path, body).await.ok(status);
        let meanwhile = received.wrong.load(Ordering::Relaxed) - before;
        assert!(meanwhile < waiting / 4, "{meanwhile} of the flood went before {path} from {address}");
    }
    stop.store(true, Ordering::Relaxed);
    flood.shutdown().await;
}
