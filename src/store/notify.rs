//! How nodes hear each other: LISTEN and NOTIFY of the database that they share. What is said commits
//! at once, all of it or nothing, and everybody who listens hears it in one order.

use sqlx::postgres::{PgListener, PgPoolOptions};

use super::{ACQUIRE_TIMEOUT, DatabaseTarget, Db, prepare_session};
use crate::error::Error;
use crate::model::{GroupId, Seq, Target, UserId};

/// By this name those who listen know of each other.
const LISTENER: &str = "hark listening";

/// The name under which the nodes of this database hear each other: of its schema, because two systems
/// may share a database.
///
/// # Errors
/// Only where the database fails.
pub async fn channel(db: &Db) -> Result<String, Error> {
    Ok(sqlx::query_scalar!(r#"select 'hark_' || oid as "channel!" from pg_namespace where nspname = current_schema()"#)
        .fetch_one(&db.pool)
        .await?)
}

/// Says something to all who listen, this node included.
///
/// # Errors
/// Where the database fails; it may have been said or not.
pub async fn notify(db: &Db, channel: &str, payloads: &[String]) -> Result<(), Error> {
    sqlx::query!("select pg_notify($1, payload) from unnest($2::text[]) payload", channel, payloads)
        .execute(&db.pool)
        .await?;
    Ok(())
}

/// A number of changes below which all is done: every later one has this number or a higher one.
///
/// # Errors
/// Only where the database fails.
pub async fn horizon(db: &Db) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset as "horizon!" from change_clock"#
    )
    .fetch_one(&db.pool)
    .await?)
}

/// How many nodes listen, as the database knows.
///
/// # Errors
/// Only where the database fails.
pub async fn listeners(db: &Db) -> Result<usize, Error> {
    let listeners = sqlx::query_scalar!(
        r#"select count(*) as "count!" from pg_stat_activity where datname = current_database() and application_name = $1"#,
        LISTENER
    )
    .fetch_one(&db.pool)
    .await?;
    Ok(usize::try_from(listeners).unwrap_or(0))
}

/// A conversation that somebody may not have heard of.
#[derive(Debug)]
pub struct Changed {
    /// Who is in it.
    pub user: UserId,
    /// What it is to them.
    pub target: Target,
    /// Its newest message; 0 where there is none.
    pub seq: Seq,
}

/// The conversations of these people in which something was sent, edited or changed about the members
/// since the number `since`.
///
/// # Errors
/// Only where the database fails.
pub async fn changed(db: &Db, users: &[UserId], since: i64) -> Result<Vec<Changed>, Error> {
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
        .map(|row| Some(Changed { user: row.user, target: target(row.peer, row.group)?, seq: row.seq }));
    Ok(named.flatten().collect())
}

/// A connection that listens, and does nothing else.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// Listens from when this returns.
    ///
    /// # Errors
    /// Where the database does not answer or lets nobody listen.
    pub async fn start(target: &DatabaseTarget, channel: &str) -> Result<Self, Error> {
        // A pool of its own: one that has lost its connection is thrown away as a whole.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(prepare_session(connection)))
            .connect_with(target.connect_options()?.application_name(LISTENER))
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok(Self(listener))
    }

    /// What is said next; `None` where the connection is lost, and maybe something with it.
    ///
    /// # Errors
    /// Where it is lost in another way.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        Ok(self.0.try_recv().await?.map(|notification| notification.payload().to_owned()))
    }
}
