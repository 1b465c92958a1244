//! What the tests of `sync` share.

use serde_json::{Value, json};
use sqlx::{PgConnection, Row as _};

use crate::support::{Client, TestServer, User};

/// Where the client stands now.
pub async fn cursor(client: &mut Client) -> Value {
    let reply = client.call("sync", json!({})).await;
    assert_eq!(reply["params"]["data"], json!([]), "{reply}");
    let item = &reply["params"]["item"];
    assert_eq!((&item["more"], &item["complete"]), (&json!(false), &json!(true)), "{reply}");
    item["cursor"].clone()
}

/// All that a client missed since a cursor, by pages of this size, and the cursor after it.
pub async fn missed(client: &mut Client, cursor: &Value, limit: i64) -> (Vec<Value>, Value) {
    let mut rows = Vec::new();
    let mut at = cursor.clone();
    loop {
        let reply = client.call("sync", json!({ "cursor": at, "limit": limit })).await;
        let page = reply["params"]["data"].as_array().unwrap_or_else(|| panic!("rows: {reply}"));
        let item = &reply["params"]["item"];
        assert_eq!(item["complete"], true, "{reply}");
        let is_full = i64::try_from(page.len()).expect("few rows") == limit;
        // The last page of a backlog is not full, and there may be more behind it.
        let is_amid_a_backlog = at.as_str().is_some_and(|cursor| cursor.matches('.').count() > 1);
        assert!(is_full || is_amid_a_backlog || item["more"] == false, "a page is full or the last one: {reply}");
        rows.extend(page.iter().cloned());
        at = item["cursor"].clone();
        if item["more"] == false {
            return (rows, at);
        }
    }
}

/// The same, over a socket of its own.
pub async fn missed_by(server: &TestServer, user: &User, cursor: &Value) -> Vec<Value> {
    missed(&mut server.connect(user).await, cursor, 20).await.0
}

pub fn kinds(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["type"].as_str().expect("a type")).collect()
}

/// A message as the server writes it, in a transaction that is the caller's.
pub async fn write(connection: &mut PgConnection, sender: i64, receiver: i64, content: &str) {
    let statement = "
        select outcome from write_messages(array[least($1, $2)], array[greatest($1, $2)], array[null]::bigint[],
            array[null]::bigint[], array[1], array[$1], array[$2], array[$3], array[null]::text[], array[null]::bigint[])";
    let query = sqlx::query(statement).bind(sender).bind(receiver).bind(content);
    assert_eq!(query.fetch_one(connection).await.expect("an answer").get::<&str, _>(0), "stored");
}

/// What other frames write, written behind the server's back.
pub struct Behind(PgConnection);

impl Behind {
    pub async fn of(server: &TestServer) -> Self {
        Self(server.sql().await)
    }

    /// The conversation of two people who have written.
    pub async fn dialog(&mut self, one: i64, other: i64) -> i64 {
        self.find_dialog(one, other).await.expect("they have written")
    }

    pub async fn find_dialog(&mut self, one: i64, other: i64) -> Option<i64> {
        let row = sqlx::query("select id from conversations where low_user_id = $1 and high_user_id = $2")
            .bind(one.min(other))
            .bind(one.max(other))
            .fetch_optional(&mut self.0)
            .await;
        row.expect("an answer").map(|row| row.get(0))
    }

    pub async fn edit(&mut self, conversation: i64, seq: i64, content: &str) {
        let statement = "
            with moved as (update conversations set change = current_change() where id = $1),
                 edited as (update messages set content = $3, updated_at = now() where conversation_id = $1 and seq = $2)
            insert into message_changes
            select conversation_id, seq, 'editMessage', current_change() from messages where conversation_id = $1 and seq = $2
            on conflict (conversation_id, seq) do update set kind = excluded.kind, change = excluded.change";
        let query = sqlx::query(statement).bind(conversation).bind(seq).bind(content);
        query.execute(&mut self.0).await.expect("it is edited");
    }

    /// Nothing where the user is not in it, has read further, or there is nothing to read.
    pub async fn read(&mut self, conversation: i64, user: i64, read: i64, delivered: i64) {
        let statement = "
            update members me set read_seq = $3, read_at = now(), delivered_seq = greatest($4, delivered_seq),
                delivered_at = now(), change = current_change(),
                own_read = own_read + (select count(*) from messages m
                    where m.conversation_id = $1 and m.sender_id = $2 and m.seq > me.read_seq and m.seq <= $3)
            where conversation_id = $1 and user_id = $2 and read_seq < $3
              and $3 <= (select last_seq from conversations where id = $1)";
        let query = sqlx::query(statement).bind(conversation).bind(user).bind(read).bind(delivered);
        query.execute(&mut self.0).await.expect("it is read");
    }

    pub async fn wish(&mut self, conversation: i64, user: i64, spam: bool, removed_to: Option<i64>) {
        let statement = "
            update members set is_spam = $3, is_removed = $4 is not null, cleared_seq = coalesce($4, 0), own_change = current_change()
            where conversation_id = $1 and user_id = $2";
        let query = sqlx::query(statement).bind(conversation).bind(user).bind(spam).bind(removed_to);
        assert_eq!(query.execute(&mut self.0).await.expect("it is wished").rows_affected(), 1);
    }

    pub async fn event(&mut self, group: i64, kind: &str, user: Option<i64>) {
        let statement = "
            with moved as (update conversations set change = current_change() where id = $1)
            insert into group_events (conversation_id, change, kind, user_id, group_name)
            select id, current_change(), $2, $3, name from conversations where id = $1";
        let query = sqlx::query(statement).bind(group).bind(kind).bind(user);
        query.execute(&mut self.0).await.expect("it happens");
    }

    /// As in a database that was dumped and restored: the row of the clock was written by another transaction
    /// than it says.
    pub async fn restored(&mut self) {
        sqlx::query("update change_clock set shift = shift").execute(&mut self.0).await.expect("another row");
    }
}
