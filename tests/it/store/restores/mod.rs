//! A database that is restored to an earlier state, in each possible way, under a node that keeps running:
//! tokens and cursors from the lost timeline are worthless, and nobody gets another user's data.

mod in_flight;
mod timelines;

use serde_json::json;
use sqlx::Row as _;

use self::timelines::{
    Baseline, LostTimeline, contents, contents_since, cursor, cursor_amid_backlog, wait_until_ready,
};
use crate::support::{Cluster, TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn restore_of_a_dump_twice_invalidates_tokens_and_cursors() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Baseline::on(cluster.address()).await;
    let dump = cluster.dump();
    let mut lost = before.make_lost_changes().await;
    cluster.restore(&dump).await;
    assert_eq!(lost.newcomer.wait_for_close().await.code, 4001);
    assert_eq!(lost.bob.wait_for_close().await.code, 1001);
    let again = before.make_lost_changes().await;
    assert_eq!(again.users[0].id, lost.users[0].id, "two histories that number alike");
    cluster.restore(&dump).await;
    lost.cursors.extend(again.cursors.iter().cloned());
    lost.users.extend(again.users.iter().cloned());
    let of_both = LostTimeline { users: lost.users, cursors: lost.cursors, newcomer: again.newcomer, bob: again.bob };
    before.assert_restored(of_both, false).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_of_a_dump_into_another_cluster_invalidates_tokens_and_cursors() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Baseline::on(cluster.address()).await;
    let dump = cluster.dump();
    let lost = before.make_lost_changes().await;
    drop((lost.newcomer, lost.bob));
    before.server.server.stop().await;
    let other = Cluster::start(&[]).await;
    other.restore(&dump).await;
    let Baseline { ann, bob, cleo, group, early, .. } = before;
    let server = TestServer::on(other.address(), |_| {}).await;
    let after = Baseline { server, ann, bob, cleo, group, early };
    after.assert_old_tokens_invalid(&lost.users).await;
    let mut client = after.server.connect(&after.bob).await;
    for cursor in lost.cursors.iter().chain([&after.early]) {
        assert_eq!(client.call_ok("sync", json!({ "cursor": cursor })).await["item"]["complete"], false, "{cursor}");
    }
    let fresh = cursor(&mut client).await;
    after.server.connect(&after.ann).await.send_content(&json!({ "receiverId": after.bob.id }), "new").await;
    assert_eq!(contents_since(&mut client, &fresh).await, ["new"]);
    after.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_of_a_dump_under_a_running_server_raises_the_change_numbers() {
    let mut cluster = Cluster::start_with_large_numbers(&[]).await;
    let before = Baseline::on(cluster.address()).await;
    let dump = cluster.dump();
    let lost = before.make_lost_changes().await;
    drop((lost.newcomer, lost.bob));
    before.server.server.stop().await;
    let other = Cluster::start(&[]).await;
    let server = TestServer::on(other.address(), |config| config.migrate = true).await;
    let (_, nobody) = server.connect_user("Nobody").await;
    other.restore_over(&dump);
    assert_eq!(nobody.wait_for_close().await.code, 4001);
    let mut sql = server.sql().await;
    eventually("the server has drawn an epoch", async || {
        let row = sqlx::query("select has_epoch from database_incarnation()").fetch_one(&mut sql).await.expect("a row");
        row.get::<Option<bool>, _>(0) == Some(true)
    })
    .await;
    wait_until_ready(&server).await;
    let mut bob = server.connect(&before.bob).await;
    for cursor in lost.cursors.iter().chain([&before.early]) {
        assert_eq!(bob.call_ok("sync", json!({ "cursor": cursor })).await["item"]["complete"], false, "{cursor}");
    }
    let fresh = cursor(&mut bob).await;
    server.connect(&before.ann).await.send_content(&json!({ "receiverId": before.bob.id }), "new").await;
    assert_eq!(contents_since(&mut bob, &fresh).await, ["new"]);
    let in_order = "select bool_and(later.created_change >= earlier.created_change) from messages later
                    join messages earlier on earlier.conversation_id = later.conversation_id and earlier.seq < later.seq";
    assert!(sqlx::query(in_order).fetch_one(&mut sql).await.expect("a row").get::<bool, _>(0));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_of_a_file_copy_invalidates_later_tokens_and_cursors() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Baseline::on(cluster.address()).await;
    cluster.stop();
    let copy = cluster.copy();
    cluster.spawn().await;
    let lost = before.make_lost_changes().await;
    cluster.stop();
    cluster.put_back(copy);
    cluster.spawn().await;
    before.assert_restored(lost, true).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_of_a_base_backup_invalidates_later_tokens_and_cursors() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Baseline::on(cluster.address()).await;
    // The node continues in the same epoch, which the backup knows.
    let copy = cluster.backup(false);
    let lost = before.make_lost_changes().await;
    let mut sql = before.server.sql().await;
    let epochs = sqlx::query("select count(*) from change_epochs").fetch_one(&mut sql).await.expect("a count");
    assert_eq!(epochs.get::<i64, _>(0), 1);
    drop(sql);
    cluster.stop();
    cluster.put_back(copy);
    cluster.spawn().await;
    before.assert_restored(lost, true).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_standby_that_lagged_invalidates_later_tokens_and_cursors() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Baseline::on(cluster.address()).await;
    let standby = cluster.backup(true);
    let lost = before.make_lost_changes().await;
    cluster.crash();
    cluster.put_back(standby);
    // The standby takes the place of the primary, and takes no changes for a moment.
    cluster.spawn().await;
    cluster.promote().await;
    before.assert_restored(lost, false).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_or_crash_of_postgresql_keeps_sockets_and_cursors() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Baseline::on(cluster.address()).await;
    let server = &before.server;
    let (mut ann, mut bob) = (server.connect(&before.ann).await, server.connect(&before.bob).await);
    let mut cursors = vec![before.early.clone(), cursor(&mut bob).await];
    let mut epochs = 1;
    for round in 0..3 {
        match round {
            0 => {
                cluster.stop();
                cluster.spawn().await;
            }
            1 => {
                cluster.crash();
                cluster.spawn().await;
            }
            // The postmaster stays, and restarts all other processes.
            _ => {
                let one = "select pid from pg_stat_activity where application_name = 'hark' limit 1";
                let row = sqlx::query(one).fetch_one(&mut server.sql().await).await.expect("a connection");
                Cluster::kill_backend(row.get(0));
            }
        }
        let said = format!("after {round}");
        let params = json!({ "receiverId": before.bob.id, "content": said, "clientMessageId": said });
        eventually("sends work again", async || ann.call("privateMessage", params.clone()).await["success"] == true)
            .await;
        eventually("reads work again", async || bob.call("sync", json!({})).await["success"] == true).await;
        cursors.push(cursor(&mut bob).await);
        let row = sqlx::query("select count(*) from change_epochs")
            .fetch_one(&mut server.sql().await)
            .await
            .expect("a count");
        assert!(row.get::<i64, _>(0) > epochs, "an epoch was drawn before anything else");
        epochs = row.get(0);
    }
    let all = ["before", "before", "after 0", "after 1", "after 2"];
    for (nth, cursor) in cursors.iter().enumerate() {
        assert_eq!(contents_since(&mut bob, cursor).await, all[if nth == 0 { 0 } else { nth + 1 }..], "cursor {nth}");
    }
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_stays_valid_while_nodes_start_and_stop() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let first = cursor(&mut bob_client).await;
    ann.send_content(&json!({ "receiverId": bob.id }), "0").await;
    ann.send_content(&json!({ "receiverId": bob.id }), "1").await;
    let mut paging = cursor_amid_backlog(&mut bob_client, &first).await;
    let mut paged = vec!["0".to_owned()];
    let mut cursors = Vec::new();
    for nth in 2..22 {
        let node = server.second_node().await;
        let mut there = node.connect(&bob).await;
        cursors.push(cursor(&mut there).await);
        ann.send_content(&json!({ "receiverId": bob.id }), &nth.to_string()).await;
        let reply = there.call_ok("sync", json!({ "cursor": paging, "limit": 1 })).await;
        assert_eq!(reply["item"]["complete"], true, "{paging}");
        paged.extend(contents(reply["data"].as_array().expect("rows")).into_iter().map(str::to_owned));
        paging = reply["item"]["cursor"].clone();
        node.server.stop().await;
    }
    // A client that is silent for long and reads no ping counts as disconnected.
    let mut bob_client = server.connect(&bob).await;
    let all: Vec<String> = (0..22).map(|nth| nth.to_string()).collect();
    assert_eq!(contents_since(&mut bob_client, &first).await, all);
    paged.extend(contents_since(&mut bob_client, &paging).await);
    assert_eq!(paged, all);
    for (nth, cursor) in cursors.iter().enumerate() {
        assert_eq!(contents_since(&mut bob_client, cursor).await, all[nth + 2..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_short_with_many_transactions_in_progress() {
    let cluster = Cluster::start_with_large_numbers(&["max_prepared_transactions=900"]).await;
    let before = Baseline::on(cluster.address()).await;
    let mut sql = before.server.sql().await;
    let other = |nth| format!("begin; select pg_current_xact_id(); prepare transaction 'other {nth}';");
    let others: Vec<String> = (0..800).map(other).collect();
    sqlx::raw_sql(sqlx::AssertSqlSafe(others.join("\n"))).execute(&mut sql).await.expect("they are under way");
    // A snapshot ends behind the last completed transaction, and lists the running ones before it.
    sqlx::raw_sql("select pg_current_xact_id()").execute(&mut sql).await.expect("one that has ended");
    let (mut ann, mut bob) = (before.server.connect(&before.ann).await, before.server.connect(&before.bob).await);
    let now = cursor(&mut bob).await;
    ann.send_content(&json!({ "receiverId": before.bob.id }), "one").await;
    ann.send_content(&json!({ "receiverId": before.bob.id }), "two").await;
    let amid = cursor_amid_backlog(&mut bob, &now).await;
    for cursor in [&now, &amid] {
        let characters = cursor.as_str().expect("a cursor").chars().count();
        assert!((5_000..=hark::model::Cursor::MAX_CHARS).contains(&characters), "{characters}");
    }
    // The snapshot covers a little less than there was, so some changes may be returned again, but none is
    // left out.
    let received = contents_since(&mut bob, &now).await;
    assert_eq!(received[received.len() - 2..], ["one", "two"], "{received:?}");
    assert_eq!(contents_since(&mut bob, &amid).await.last().map(String::as_str), Some("two"));
    before.server.server.stop().await;
}
