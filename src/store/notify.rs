//! LISTEN and NOTIFY: the transport between the nodes of one database. The payloads of one NOTIFY statement are
//! delivered together or not at all, and all listeners receive everything in the same order.

use sqlx::postgres::{PgListener, PgPoolOptions};

use super::session_settings::ACQUIRE_TIMEOUT;
use super::session_settings::prepare_session;
use super::{DatabaseTarget, Db};
use crate::error::Error;
use crate::model::{GroupId, Seq, Target, UserId};

/// The `application_name` of the listening connections, by which nodes count each other.
const LISTENER_APPLICATION_NAME: &str = "hark listening";

/// The name of the channel on which the nodes of this system notify each other. It contains the schema, because
/// two systems may share a database.
///
/// # Errors
/// Only if the database fails.
pub async fn channel(db: &Db) -> Result<String, Error> {
    Ok(sqlx::query_scalar!(r#"select 'hark_' || oid as "channel!" from pg_namespace where nspname = current_schema()"#)
        .fetch_one(&db.pool)
        .await?)
}

/// Sends payloads to all listeners, this node included.
///
/// # Errors
/// If the database fails; the payloads may have been sent or not.
pub async fn notify(db: &Db, channel: &str, payloads: &[String]) -> Result<(), Error> {
    sqlx::query!("select pg_notify($1, payload) from unnest($2::text[]) payload", channel, payloads)
        .execute(&db.pool)
        .await?;
    Ok(())
}

/// The watermark of changes: all with a lower number are committed or rolled back, and every later change has
/// this number or a higher one.
///
/// # Errors
/// Only if the database fails.
pub async fn watermark(db: &Db) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset as "watermark!" from change_clock"#
    )
    .fetch_one(&db.pool)
    .await?)
}

/// How many nodes listen, as the database counts them.
///
/// # Errors
/// Only if the database fails.
pub async fn count_listeners(db: &Db) -> Result<usize, Error> {
    let listeners = sqlx::query_scalar!(
        r#"select count(*) as "count!" from pg_stat_activity where datname = current_database() and application_name = $1"#,
        LISTENER_APPLICATION_NAME
    )
    .fetch_one(&db.pool)
    .await?;
    Ok(usize::try_from(listeners).unwrap_or(0))
}

/// A conversation in which a user may have missed something.
#[derive(Debug)]
pub struct ChangedConversation {
    /// A user who is in it.
    pub user: UserId,
    /// The conversation as the user names it.
    pub target: Target,
    /// The latest message; 0 if there is none.
    pub seq: Seq,
}

/// The conversations of these users in which a message was sent or edited, or the members changed, since the
/// change with the number `since`.
///
/// # Errors
/// Only if the database fails.
pub async fn changed_conversations(db: &Db, users: &[UserId], since: i64) -> Result<Vec<ChangedConversation>, Error> {
    let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    let rows = sqlx::query!(
        r#"select u.id as "user!: UserId", c.high_user_id as "peer?: UserId", null::bigint as "group?: GroupId", c.last_seq as "seq!"
           from unnest($1::bigint[]) u (id)
           join conversations c on c.kind = 'dialog' and c.low_user_id = u.id and c.change >= $2
           union
           select u.id, c.low_user_id, null, c.last_seq
           from unnest($1::bigint[]) u (id)
           join conversations c on c.kind = 'dialog' and c.high_user_id = u.id and c.change >= $2
           union all
           select m.user_id, null, c.id, c.last_seq
           from members m join conversations c on c.id = m.conversation_id and c.change >= $2
           where m.kind = 'group' and m.user_id = any($1)"#,
        &ids,
        since
    )
    .fetch_all(&db.pool)
    .await?;
    let target = |peer: Option<UserId>, group: Option<GroupId>| peer.map(Target::User).or(group.map(Target::Group));
    let named = rows
        .into_iter()
        .map(|row| Some(ChangedConversation { user: row.user, target: target(row.peer, row.group)?, seq: row.seq }));
    Ok(named.flatten().collect())
}

/// A connection that only listens.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// Opens a connection, which receives all that is sent from when this returns.
    ///
    /// # Errors
    /// If the database does not answer, or does not let it listen.
    pub async fn start(address: &DatabaseTarget, channel: &str) -> Result<Self, Error> {
        // A pool of its own, which is discarded as a whole once its connection is lost.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(prepare_session(connection)))
            .connect_with(address.connect_options()?.application_name(LISTENER_APPLICATION_NAME))
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok(Self(listener))
    }

    /// Waits for the next payload; `None` if the connection is lost, and payloads may be with it.
    ///
    /// # Errors
    /// If the connection is lost in another way.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        Ok(self.0.try_recv().await?.map(|notification| notification.payload().to_owned()))
    }
}
