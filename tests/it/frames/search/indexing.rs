//! The search index: messages that change, that commit late, or that are written on two nodes.

use hark::store::search::Indexer;
use serde_json::json;
use sqlx::Row as _;

use super::{before_and_after_indexing, find, search, send_private, wait_until_indexed};
use crate::support::{TestServer, eventually};

/// Changes a content as an edit does, and holds the transaction until `meanwhile` is done.
async fn edit(server: &TestServer, message: i64, content: &str, meanwhile: impl Future<Output = ()>) {
    let mut sql = server.sql().await;
    sqlx::query("begin").execute(&mut sql).await.expect("a transaction");
    sqlx::query("update messages set content = $2 where id = $1")
        .bind(message)
        .bind(content)
        .execute(&mut sql)
        .await
        .expect("a message");
    hark::store::search::reindex(&mut sql, hark::model::MessageId(message)).await.expect("an entry");
    meanwhile.await;
    sqlx::query("commit").execute(&mut sql).await.expect("a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_finds_an_edited_message_by_its_new_words_and_no_deleted_one() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let edited = send_private(&mut client, ann.id, "coffee").await;
    let deleted = send_private(&mut client, ann.id, "coffee too").await;
    wait_until_indexed(&server).await;
    edit(&server, edited, "green tea", async {}).await;
    edit(&server, deleted, "", async {}).await;
    assert!(find(&mut client, "coffee").await.is_empty());
    assert_eq!(find(&mut client, "tea").await, ["green tea"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn indexer_keeps_the_words_of_a_concurrent_edit() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    // The indexer waits for transactions that were writing while an id was given out, so it does not see
    // this yet.
    let mut writing = server.sql().await;
    for statement in ["begin", "select pg_current_xact_id()"] {
        sqlx::query(statement).execute(&mut writing).await.expect("a transaction");
    }
    let message = send_private(&mut client, ann.id, "coffee").await;
    let mut waits = server.sql().await;
    edit(&server, message, "tea", async {
        sqlx::query("commit").execute(&mut writing).await.expect("a commit");
        // The indexer has read the old content and waits for the row of the edit, or has not come to it
        // yet.
        eventually("the indexer has looked", async || {
            let blocked = "select exists (select from pg_stat_activity where datname = current_database()
                               and wait_event_type = 'Lock' and query like 'insert into message_words%')
                               or (select xmax > xmin from (select pg_snapshot_xmax(pg_current_snapshot()) as xmax,
                                   pg_snapshot_xmin(pg_current_snapshot()) as xmin) s)";
            sqlx::query(blocked).fetch_one(&mut waits).await.expect("a row").get(0)
        })
        .await;
    })
    .await;
    before_and_after_indexing(&server, async || {
        assert!(find(&mut client, "coffee").await.is_empty());
        assert_eq!(find(&mut client, "tea").await, ["tea"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexers_of_two_nodes_fill_one_index() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut one) = server.connect_user("Ann").await;
    let bob = second.create_user("Bob").await;
    let mut two = second.connect(&bob).await;
    for number in 0..30 {
        send_private(&mut one, bob.id, &format!("tea from one {number}")).await;
        send_private(&mut two, ann.id, &format!("tea from two {number}")).await;
        let newest = format!("tea from two {number}");
        assert_eq!(search(&mut one, json!({ "query": "tea", "limit": 1 })).await, [newest.as_str()]);
    }
    before_and_after_indexing(&server, async || {
        let found = search(&mut two, json!({ "query": "tea", "limit": 100 })).await;
        assert_eq!((found.len(), found[0].as_str()), (60, "tea from two 29"));
        assert_eq!(search(&mut one, json!({ "query": "tea", "limit": 100 })).await, found);
    })
    .await;
    let rows = sqlx::query("select count(*) from message_words").fetch_one(&mut server.sql().await).await;
    assert_eq!(rows.expect("a row").get::<i64, _>(0), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn indexer_does_not_skip_a_message_that_commits_late() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    send_private(&mut client, ann.id, "first").await;
    // This is a slow send of another node: it has an id and has not committed.
    let mut late = server.sql().await;
    sqlx::query("begin").execute(&mut late).await.expect("a transaction");
    let sent = sqlx::query(
        "select message_id from write_messages(array[$1], array[$1], array[null::bigint], array[null::bigint],
             array[1], array[$1], array[$1], array['late tea'], array[null::text], array[null::bigint])",
    );
    let late_id: i64 = sent.bind(ann.id).fetch_one(&mut late).await.expect("a receipt").get(0);
    // The same holds while nothing that began after it has ended.
    let mut indexer = Indexer::default();
    for _ in 0..3 {
        indexer.step(&server.server.app().db).await.expect("a step");
        let row = sqlx::query("select indexed_to from search_progress").fetch_one(&mut server.sql().await).await;
        let indexed_to: i64 = row.expect("a row").get(0);
        assert!(indexed_to < late_id, "it must not go past {late_id}: {indexed_to}");
    }
    let after = send_private(&mut bob_client, bob.id, "tea after it").await;
    assert!(after > late_id);
    let mut sql = server.sql().await;
    let xids = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint < pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    assert!(sqlx::query(xids).fetch_one(&mut sql).await.expect("a row").get::<bool, _>(0));
    eventually("the indexer has come to the late one", async || {
        send_private(&mut bob_client, bob.id, "more").await;
        let row = sqlx::query("select indexed_to from search_progress").fetch_one(&mut sql).await;
        let indexed_to: i64 = row.expect("a row").get(0);
        assert!(indexed_to < late_id, "it must not go past {late_id}: {indexed_to}");
        indexed_to == late_id - 1 || send_private(&mut bob_client, bob.id, "more").await > late_id + 40
    })
    .await;
    sqlx::query("commit").execute(&mut late).await.expect("a commit");
    before_and_after_indexing(&server, async || assert_eq!(find(&mut client, "tea").await, ["late tea"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexer_batches_are_bounded_in_bytes() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let mut sql = server.sql().await;
    // The trigger records each step of the indexer, and holds it until all messages are there.
    sqlx::raw_sql(
        "create table steps (past bigint, up_to bigint);
         create function note_step() returns trigger language plpgsql as
             $$ begin insert into steps values (old.indexed_to, new.indexed_to); return new; end $$;
         create trigger note_step before update on search_progress for each row execute function note_step();
         begin;
         select pg_current_xact_id();",
    )
    .execute(&mut sql)
    .await
    .expect("a transaction");
    let content = "長い文、".repeat(1_300);
    for number in 0..150 {
        send_private(&mut client, ann.id, &format!("{number} {content}")).await;
    }
    sqlx::query("commit").execute(&mut sql).await.expect("a commit");
    wait_until_indexed(&server).await;
    let steps = sqlx::query(
        "select count(m.id) as messages, sum(octet_length(m.content)) as bytes, max(octet_length(m.content)) as longest
         from steps s join messages m on m.id > s.past and m.id <= s.up_to group by s",
    )
    .fetch_all(&mut sql)
    .await
    .expect("rows");
    let messages: i64 = steps.iter().map(|step| step.get::<i64, _>("messages")).sum();
    assert_eq!(messages, 150);
    for step in &steps {
        let (bytes, longest): (i64, i32) = (step.get("bytes"), step.get("longest"));
        assert!(bytes < 262_144 + i64::from(longest), "a step of {bytes} bytes");
    }
    assert_eq!(search(&mut client, json!({ "query": "149 長い文", "limit": 5 })).await.len(), 1);
}

/// An index that claims to be ahead of the messages, as after a restore of some tables only, begins again where it
/// really is.
#[tokio::test(flavor = "multi_thread")]
async fn indexer_rewinds_where_its_progress_is_ahead_of_the_messages() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    send_private(&mut client, ann.id, "needle one").await;
    wait_until_indexed(&server).await;
    let mut sql = server.sql().await;
    let ahead = "update search_progress set indexed_to = 1000000";
    sqlx::query(ahead).execute(&mut sql).await.expect("the row");
    eventually("the index has gone back", async || {
        let progress = "select indexed_to < 1000000 from search_progress";
        sqlx::query(progress).fetch_one(&mut sql).await.expect("the row").get(0)
    })
    .await;
    send_private(&mut client, ann.id, "needle two").await;
    before_and_after_indexing(&server, async || {
        assert_eq!(find(&mut client, "needle").await, ["needle two", "needle one"]);
    })
    .await;
}
