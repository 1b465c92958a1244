//! Helpers of the tests of `sync`.

use serde_json::{Value, json};
use sqlx::{PgConnection, Row as _};

use crate::support::{Client, TestServer, User};

/// Returns the current cursor of a client.
pub async fn cursor(client: &mut Client) -> Value {
    let reply = client.call("sync", json!({})).await;
    assert_eq!(reply["params"]["data"], json!([]), "{reply}");
    let item = &reply["params"]["item"];
    assert_eq!((&item["more"], &item["complete"]), (&json!(false), &json!(true)), "{reply}");
    item["cursor"].clone()
}

/// Returns all changes since a cursor, by pages of this size, and the cursor after them.
pub async fn changes_since(client: &mut Client, cursor: &Value, limit: i64) -> (Vec<Value>, Value) {
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

/// Returns the same over a socket of its own.
pub async fn changes_for_user_since(server: &TestServer, user: &User, cursor: &Value) -> Vec<Value> {
    changes_since(&mut server.connect(user).await, cursor, 20).await.0
}

pub fn kinds(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["type"].as_str().expect("a type")).collect()
}

/// Writes a message as the server does, in a transaction of the caller.
pub async fn write(connection: &mut PgConnection, sender: i64, receiver: i64, content: &str) {
    let statement = "
        select outcome from write_messages(array[least($1, $2)], array[greatest($1, $2)], array[null]::bigint[],
            array[null]::bigint[], array[1], array[$1], array[$2], array[$3], array[null]::text[], array[null]::bigint[])";
    let query = sqlx::query(statement).bind(sender).bind(receiver).bind(content);
    assert_eq!(query.fetch_one(connection).await.expect("an answer").get::<&str, _>(0), "stored");
}

/// Writes what other frames write, behind the server's back.
pub struct DatabaseWriter(PgConnection);

impl DatabaseWriter {
    pub async fn of(server: &TestServer) -> Self {
        Self(server.sql().await)
    }

    /// Returns the conversation of two users who have written to each other.
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

    /// Does nothing if the user is not a member, has read further, or there is nothing to read.
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

    pub async fn change_settings(&mut self, conversation: i64, user: i64, spam: bool, removed_to: Option<i64>) {
        let statement = "
            update members set is_spam = $3, is_removed = $4 is not null, cleared_seq = coalesce($4, 0), private_change = current_change()
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

    /// Makes the clock look as after a dump and restore: another transaction than its row names has written the
    /// row.
    pub async fn fake_restore(&mut self) {
        sqlx::query("update change_clock set xid_offset = xid_offset").execute(&mut self.0).await.expect("another row");
    }
}
