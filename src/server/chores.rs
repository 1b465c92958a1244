//! What a server does every so often, whoever is connected.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::app::App;
use crate::commands::presence;
use crate::store::search::{Indexer, Progress};
use crate::store::{Db, sessions};

/// How often the sessions of open sockets are looked at anew: an end that a node did not hear of, and
/// one that was made in the database itself, closes its sockets too.
const CHECK_SESSIONS_EVERY: Duration = Duration::from_secs(5);
/// How often the index looks for new messages.
const INDEX_EVERY: Duration = Duration::from_millis(200);
/// How often what needs the database is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// So much longer than its work the index rests, because sends come first: it takes a tenth of a core.
const INDEX_RESTS: u32 = 9;
const SWEEP_EVERY: Duration = Duration::from_millis(100);
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// Starts all of it; it ends when the set is dropped. One task each: what waits for the database holds
/// up nothing else.
pub(super) fn start(app: &Arc<App>) -> JoinSet<()> {
    let mut chores = JoinSet::new();
    chores.spawn(sweep(Arc::clone(app)));
    chores.spawn(check_sessions(Arc::clone(app)));
    chores.spawn(tell_of_presence(Arc::clone(app)));
    chores.spawn(index_messages(app.db.clone()));
    chores
}

async fn sweep(app: Arc<App>) {
    let mut often = interval(SWEEP_EVERY);
    let mut seldom = interval(FORGET_EVERY);
    loop {
        tokio::select! {
            _ = often.tick() => app.delivery.hub.sweep(),
            _ = seldom.tick() => {
                app.sign_ups.forget_quiet();
                app.logins.forget_quiet();
                app.session_requests.forget_quiet();
                app.user_requests.forget_quiet();
                app.user_openings.forget_quiet();
            }
        }
    }
}

/// Apart from the rest, because it waits for the database.
async fn check_sessions(app: Arc<App>) {
    let mut sometimes = interval(CHECK_SESSIONS_EVERY);
    loop {
        sometimes.tick().await;
        let open = app.delivery.hub.sessions();
        if open.is_empty() {
            continue;
        }
        match sessions::ended(&app.db, &open).await {
            Ok(ended) => app.delivery.hub.close_ended(&ended),
            // Said in the log; the next look comes soon.
            Err(error) => drop(error.into_answer()),
        }
    }
}

/// One after the other: what was told last is how it is.
async fn tell_of_presence(app: Arc<App>) {
    let mut often = interval(SWEEP_EVERY);
    let mut news = Vec::new();
    loop {
        often.tick().await;
        news.extend(app.delivery.presence().news(false));
        if news.is_empty() {
            continue;
        }
        match presence::announce(&app.db, &app.delivery, &news).await {
            Ok(()) => news.clear(),
            // Told again with the next.
            Err(error) => {
                drop(error.into_answer());
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Keeps the index of the search up to date.
async fn index_messages(db: Db) {
    let mut indexer = Indexer::default();
    loop {
        let begun = Instant::now();
        let progress = indexer.step(&db).await;
        let rest = begun.elapsed() * INDEX_RESTS;
        sleep(match progress {
            Ok(Progress::More) => rest,
            Ok(Progress::Done | Progress::Idle) => rest.max(INDEX_EVERY),
            // Said in the log; a search reads what is not indexed.
            Err(error) => {
                drop(error.into_answer());
                AGAIN_AFTER
            }
        })
        .await;
    }
}
