//! A database that is put back to an earlier state, in whichever way, under a node that goes on running: what
//! the lost future has handed out is worth nothing, and nobody gets what is not theirs.

mod histories;
mod under_way;

use serde_json::json;
use sqlx::Row as _;

use self::histories::{Before, Lost, amid_a_backlog, contents, cursor, everything_since, ready};
use crate::support::{Cluster, TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_restored_twice_knows_no_token_and_no_cursor_of_before() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Before::on(cluster.address()).await;
    let dump = cluster.dump();
    let mut lost = before.go_on().await;
    cluster.restore(&dump).await;
    assert_eq!(lost.newcomer.closed().await.code, 4001);
    assert_eq!(lost.bob.closed().await.code, 1001);
    let again = before.go_on().await;
    assert_eq!(again.users[0].id, lost.users[0].id, "two histories that number alike");
    cluster.restore(&dump).await;
    lost.cursors.extend(again.cursors.iter().cloned());
    lost.users.extend(again.users.iter().cloned());
    let of_both = Lost { users: lost.users, cursors: lost.cursors, newcomer: again.newcomer, bob: again.bob };
    before.holds(of_both, false).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_restored_into_another_cluster_knows_no_token_and_no_cursor_of_before() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Before::on(cluster.address()).await;
    let dump = cluster.dump();
    let lost = before.go_on().await;
    drop((lost.newcomer, lost.bob));
    before.server.server.stop().await;
    let other = Cluster::start(&[]).await;
    other.restore(&dump).await;
    let Before { ann, bob, cleo, group, early, .. } = before;
    let server = TestServer::on(other.address(), |_| {}).await;
    let after = Before { server, ann, bob, cleo, group, early };
    after.old_tokens_open_nothing(&lost.users).await;
    let mut client = after.server.connect(&after.bob).await;
    for cursor in lost.cursors.iter().chain([&after.early]) {
        assert_eq!(client.done("sync", json!({ "cursor": cursor })).await["item"]["complete"], false, "{cursor}");
    }
    let fresh = cursor(&mut client).await;
    after.server.connect(&after.ann).await.say(&json!({ "receiverId": after.bob.id }), "new").await;
    assert_eq!(everything_since(&mut client, &fresh).await, ["new"]);
    after.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_restored_under_a_server_that_runs_and_lifts_the_numbers_of_changes() {
    let mut cluster = Cluster::start_with_large_numbers(&[]).await;
    let before = Before::on(cluster.address()).await;
    let dump = cluster.dump();
    let lost = before.go_on().await;
    drop((lost.newcomer, lost.bob));
    before.server.server.stop().await;
    let other = Cluster::start(&[]).await;
    let server = TestServer::on(other.address(), |config| config.migrate = true).await;
    let (_, nobody) = server.client("Nobody").await;
    other.restore_over(&dump);
    assert_eq!(nobody.closed().await.code, 4001);
    let mut sql = server.sql().await;
    eventually("the server has drawn an epoch", async || {
        let row = sqlx::query("select has_epoch from database_life()").fetch_one(&mut sql).await.expect("a row");
        row.get::<Option<bool>, _>(0) == Some(true)
    })
    .await;
    ready(&server).await;
    let mut bob = server.connect(&before.bob).await;
    for cursor in lost.cursors.iter().chain([&before.early]) {
        assert_eq!(bob.done("sync", json!({ "cursor": cursor })).await["item"]["complete"], false, "{cursor}");
    }
    let fresh = cursor(&mut bob).await;
    server.connect(&before.ann).await.say(&json!({ "receiverId": before.bob.id }), "new").await;
    assert_eq!(everything_since(&mut bob, &fresh).await, ["new"]);
    let in_order = "select bool_and(later.created_in >= earlier.created_in) from messages later
                    join messages earlier on earlier.conversation_id = later.conversation_id and earlier.seq < later.seq";
    assert!(sqlx::query(in_order).fetch_one(&mut sql).await.expect("a row").get::<bool, _>(0));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_folder_that_is_put_back_knows_no_token_and_no_cursor_of_after_it() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Before::on(cluster.address()).await;
    cluster.stop();
    let copy = cluster.copy();
    cluster.spawn().await;
    let lost = before.go_on().await;
    cluster.stop();
    cluster.put_back(copy);
    cluster.spawn().await;
    before.holds(lost, true).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_cluster_that_is_put_back_knows_no_token_and_no_cursor_of_after_it() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Before::on(cluster.address()).await;
    // The node goes on in the same epoch, which the backup knows.
    let copy = cluster.backup(false);
    let lost = before.go_on().await;
    let mut sql = before.server.sql().await;
    let epochs = sqlx::query("select count(*) from change_epochs").fetch_one(&mut sql).await.expect("a count");
    assert_eq!(epochs.get::<i64, _>(0), 1);
    drop(sql);
    cluster.stop();
    cluster.put_back(copy);
    cluster.spawn().await;
    before.holds(lost, true).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_standby_that_takes_over_knows_no_token_and_no_cursor_of_after_it() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Before::on(cluster.address()).await;
    let standby = cluster.backup(true);
    let lost = before.go_on().await;
    cluster.crash();
    cluster.put_back(standby);
    // In the place of the primary, and for a moment it takes no changes.
    cluster.spawn().await;
    cluster.promote().await;
    before.holds(lost, false).await;
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_or_a_crash_of_postgresql_closes_nobody_and_cursors_stay_good() {
    let mut cluster = Cluster::start(&[]).await;
    let before = Before::on(cluster.address()).await;
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
            // The postmaster stays, and starts all others anew.
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
        assert_eq!(everything_since(&mut bob, cursor).await, all[if nth == 0 { 0 } else { nth + 1 }..], "cursor {nth}");
    }
    before.server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_cursor_stays_good_while_nodes_come_and_go() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let first = cursor(&mut bob_client).await;
    ann.say(&json!({ "receiverId": bob.id }), "0").await;
    ann.say(&json!({ "receiverId": bob.id }), "1").await;
    let mut paging = amid_a_backlog(&mut bob_client, &first).await;
    let mut paged = vec!["0".to_owned()];
    let mut cursors = Vec::new();
    for nth in 2..22 {
        let node = server.second_node().await;
        let mut there = node.connect(&bob).await;
        cursors.push(cursor(&mut there).await);
        ann.say(&json!({ "receiverId": bob.id }), &nth.to_string()).await;
        let reply = there.done("sync", json!({ "cursor": paging, "limit": 1 })).await;
        assert_eq!(reply["item"]["complete"], true, "{paging}");
        paged.extend(contents(reply["data"].as_array().expect("rows")).into_iter().map(str::to_owned));
        paging = reply["item"]["cursor"].clone();
        node.server.stop().await;
    }
    // Who says nothing for long, and reads no ping, is not there any more.
    let mut bob_client = server.connect(&bob).await;
    let all: Vec<String> = (0..22).map(|nth| nth.to_string()).collect();
    assert_eq!(everything_since(&mut bob_client, &first).await, all);
    paged.extend(everything_since(&mut bob_client, &paging).await);
    assert_eq!(paged, all);
    for (nth, cursor) in cursors.iter().enumerate() {
        assert_eq!(everything_since(&mut bob_client, cursor).await, all[nth + 2..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_short_whatever_else_is_under_way() {
    let cluster = Cluster::start_with_large_numbers(&["max_prepared_transactions=900"]).await;
    let before = Before::on(cluster.address()).await;
    let mut sql = before.server.sql().await;
    let other = |nth| format!("begin; select pg_current_xact_id(); prepare transaction 'other {nth}';");
    let others: Vec<String> = (0..800).map(other).collect();
    sqlx::raw_sql(sqlx::AssertSqlSafe(others.join("\n"))).execute(&mut sql).await.expect("they are under way");
    // A snapshot ends behind the last transaction that has ended, and lists those before it.
    sqlx::raw_sql("select pg_current_xact_id()").execute(&mut sql).await.expect("one that has ended");
    let (mut ann, mut bob) = (before.server.connect(&before.ann).await, before.server.connect(&before.bob).await);
    let now = cursor(&mut bob).await;
    ann.say(&json!({ "receiverId": before.bob.id }), "one").await;
    ann.say(&json!({ "receiverId": before.bob.id }), "two").await;
    let amid = amid_a_backlog(&mut bob, &now).await;
    for cursor in [&now, &amid] {
        let characters = cursor.as_str().expect("a cursor").chars().count();
        assert!((5_000..=hark::model::Cursor::MAX_CHARS).contains(&characters), "{characters}");
    }
    // They see a little less than there was, and so a little may be told again, but nothing is left out.
    let told = everything_since(&mut bob, &now).await;
    assert_eq!(told[told.len() - 2..], ["one", "two"], "{told:?}");
    assert_eq!(everything_since(&mut bob, &amid).await.last().map(String::as_str), Some("two"));
    before.server.server.stop().await;
}
