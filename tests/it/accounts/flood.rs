//! Many addresses that try to sign in at once, each within its limits.

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

/// What the flood has been told so far.
#[derive(Default)]
struct Told {
    wrong: AtomicUsize,
    overloaded: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn login_of_somebody_else_goes_before_a_flood_of_attempts() {
    let server = TestServer::with(|config| {
        config.trust_proxy = true;
        config.limits.logins_per_minute = 30;
    })
    .await;
    let home = "192.0.2.1";
    let ann = json!({ "email": "ann@example.org", "password": PASSWORD });
    post_from(&server, home, SIGN_UP, &ann).await.ok(201);
    post_from(&server, home, LOGIN, &ann).await.ok(200);

    // More than may wait: some hundred for each thread that hashes.
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).saturating_sub(1).max(1);
    let (waiting, senders) = (256 * threads, 256 * threads + 144);
    let (told, stop) = (Arc::new(Told::default()), Arc::new(AtomicBool::new(false)));
    let mut flood = JoinSet::new();
    for nth in 0..senders {
        let address = format!("10.{}.{}.1", nth / 256, nth % 256);
        let wrong = json!({ "email": format!("nobody{nth}@example.org"), "password": "wrong password" });
        let request = server.http("POST", LOGIN).header("x-forwarded-for", address).json(&wrong);
        let (told, stop) = (Arc::clone(&told), Arc::clone(&stop));
        flood.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = answer(request.try_clone().expect("its body is text")).await;
                match answer.status {
                    401 => told.wrong.fetch_add(1, Ordering::Relaxed),
                    503 => {
                        answer.refused(503, "overloaded");
                        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0), "{answer:?}");
                        told.overloaded.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    // The limit of its address, after so many.
                    429 => return,
                    _ => panic!("{answer:?}"),
                };
            }
        });
    }
    eventually("the queue is full, and its end told so", async || told.overloaded.load(Ordering::Relaxed) > 100).await;

    let bob = json!({ "email": "bob@example.org", "password": PASSWORD });
    let attempts = [
        // Ann where she has signed in before, and where she has not; somebody new, who signs in afterwards.
        (home, LOGIN, &ann, 200),
        ("203.0.113.5", LOGIN, &ann, 200),
        ("198.51.100.7", SIGN_UP, &bob, 201),
        ("198.51.100.7", LOGIN, &bob, 200),
    ];
    for (address, path, body, status) in attempts {
        let before = told.wrong.load(Ordering::Relaxed);
        post_from(&server, address, path, body).await.ok(status);
        let meanwhile = told.wrong.load(Ordering::Relaxed) - before;
        assert!(meanwhile < waiting / 4, "{meanwhile} of the flood went before {path} from {address}");
    }
    stop.store(true, Ordering::Relaxed);
    flood.shutdown().await;
}
