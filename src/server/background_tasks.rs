//! What a server does every so often, whoever is connected.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::app::App;
use crate::commands::{groups, presence};
use crate::error::Error;
use crate::store::Db;
use crate::store::search::{IndexProgress, Indexer};
use crate::store::users::{deletion, sessions};

/// How often the sessions of open sockets are looked at anew: an end that a node did not hear of, and
/// one that was made in the database itself, closes its sockets too.
const CHECK_SESSIONS_EVERY: Duration = Duration::from_secs(5);
/// How often a node looks whether the database is the one that it was.
const LOOK_AT_HISTORY_EVERY: Duration = Duration::from_secs(2);
/// How often the index looks for new messages.
const INDEX_EVERY: Duration = Duration::from_millis(200);
/// How often what needs the database is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// So much longer than its work the index rests, because sends come first: it takes a tenth of a core.
const INDEX_RESTS: u32 = 9;
/// But no longer than this: a step may have waited for the database, which is no work.
const INDEX_RESTS_AT_MOST: Duration = Duration::from_secs(2);
/// How often a node looks for deletions that nobody goes on with.
const CLAIM_DELETIONS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node works on a deletion at a stretch, and so much longer than that it rests: sends come first.
const DELETION_SLICE: Duration = Duration::from_millis(200);
const DELETION_RESTS: u32 = 1;
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
    chores.spawn(finish_deletions(Arc::clone(app)));
    chores.spawn(look_at_history(app.db.clone()));
    chores
}

async fn sweep(app: Arc<App>) {
    let mut often = interval(SWEEP_EVERY);
    let mut seldom = interval(FORGET_EVERY);
    loop {
        tokio::select! {
            _ = often.tick() => app.delivery.hub.sweep(),
            _ = seldom.tick() => {
                app.sign_ups.evict_idle();
                app.logins.evict_idle();
                app.session_requests.evict_idle();
                app.user_requests.evict_idle();
                app.user_openings.evict_idle();
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
        match sessions::find_ended(&app.db, &open).await {
            Ok(ended) => app.delivery.hub.close_ended(&ended),
            // Said in the log; the next look comes soon.
            Err(error) => drop(error.log_and_convert()),
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
        match presence::announce_changes(&app.db, &app.delivery, &news).await {
            Ok(()) => news.clear(),
            // Told again with the next.
            Err(error) => {
                drop(error.log_and_convert());
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Goes on with account deletions that took too long for their request, or whose node was stopped.
async fn finish_deletions(app: Arc<App>) {
    loop {
        let rest = match finish_deletion(&app).await {
            Ok(Some(worked)) => worked * DELETION_RESTS,
            Ok(None) => CLAIM_DELETIONS_INTERVAL,
            // Logged; whoever claims it next goes on.
            Err(error) => {
                drop(error.log_and_convert());
                AGAIN_AFTER
            }
        };
        sleep(rest).await;
    }
}

/// Does one deletion as far as it goes, and gives back how long the last slice took; `None` where there is
/// none to do.
async fn finish_deletion(app: &App) -> Result<Option<Duration>, Error> {
    let Some((user, name)) = deletion::claim(&app.db).await? else { return Ok(None) };
    loop {
        let begun = Instant::now();
        // Of what others have locked, another deletion may have more to do meanwhile.
        if groups::continue_deletion(app, user, &name, DELETION_SLICE).await? != deletion::DeletionProgress::More {
            return Ok(Some(begun.elapsed()));
        }
        sleep(begun.elapsed() * DELETION_RESTS).await;
    }
}

/// Notices a restore that has cut no connection, and how far the log of the database has come.
async fn look_at_history(db: Db) {
    let mut often = interval(LOOK_AT_HISTORY_EVERY);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_in_trouble = false;
    loop {
        often.tick().await;
        match db.verify_history().await {
            Ok(()) => is_in_trouble = false,
            // Said once; others who need the database say more.
            Err(error) if !std::mem::replace(&mut is_in_trouble, true) => drop(error.log_and_convert()),
            Err(_) => {}
        }
    }
}

/// Keeps the index of the search up to date.
async fn index_messages(db: Db) {
    let mut indexer = Indexer::default();
    loop {
        let begun = Instant::now();
        let progress = indexer.step(&db).await;
        let rest = (begun.elapsed() * INDEX_RESTS).min(INDEX_RESTS_AT_MOST);
        sleep(match progress {
            Ok(IndexProgress::More) => rest,
            Ok(IndexProgress::Done | IndexProgress::Idle) => rest.max(INDEX_EVERY),
            // Said in the log; a search reads what is not indexed.
            Err(error) => {
                drop(error.log_and_convert());
                AGAIN_AFTER
            }
        })
        .await;
    }
}
