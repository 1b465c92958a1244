//! Nodes that stop or are killed, and nodes that lose each other for a while.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ClusterListener, next_presence, status};
use crate::support::{Client, Process, TEST_TIMEOUT, TestServer, eventually};

const TERMINATE_LISTENERS: &str = "select pg_terminate_backend(pid) from pg_stat_activity
                             where datname = current_database() and application_name = 'hark listening'";

/// Sends as a correct client does: again with the same id until it is confirmed.
async fn send_until_confirmed(client: &mut Client, target: &Value, content: &str) {
    let kind = if target.get("groupId").is_some() { "messageInGroup" } else { "privateMessage" };
    let mut params = target.clone();
    (params["content"], params["clientMessageId"]) = (json!(content), json!(content));
    eventually("it is confirmed", async || client.call(kind, params.clone()).await["success"] == true).await;
}

/// Sends until one of the messages is pushed on the other node, which shows that it is connected again.
async fn send_until_pushed(sender: &mut Client, to: i64, receiver: &mut Client) {
    let mut nth = 0;
    eventually("one is pushed", async || {
        nth += 1;
        let content = format!("attempt {nth}");
        send_until_confirmed(sender, &json!({ "receiverId": to }), &content).await;
        // An error reply, which needs no database, is the fence.
        receiver.call("noSuchType", json!({})).await;
        receiver.take_buffered_pushes().iter().any(|push| push["params"]["message"] == content.as_str())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_node_takes_only_its_own_users_offline() {
    let server = TestServer::start().await;
    let process = server.start_process().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let bob = server.create_user("Bob").await;
    server.add_contact(&bob, &ann).await;
    ann_client.subscribe(&["presence"]).await;
    let mut bobs = process.connect(&bob.token).await;
    assert_eq!(next_presence(&mut ann_client).await, status(&bob, true));
    ann_client.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
    assert_eq!(bobs.expect_push("privateMessage").await["message"], "Hi");

    process.signal(Signal::KILL);
    assert_eq!(process.wait_for_exit(TEST_TIMEOUT).await, None);
    ann_client.send_content(&json!({ "receiverId": cleo.id }), "still there?").await;
    assert_eq!(cleo_client.expect_push("privateMessage").await["message"], "still there?");
    cleo_client.send_content(&json!({ "receiverId": ann.id }), "yes").await;
    assert_eq!(ann_client.expect_push("privateMessage").await["message"], "yes");
    assert_eq!(next_presence(&mut ann_client).await, status(&bob, false));
    assert!(server.server.app().metrics.text().contains("hark_cluster_peers 0"));
    let row = ann_client.call_ok("getOnlineInfo", json!({ "userIds": [bob.id] })).await["data"][0].take();
    assert!(row["isOnline"] == false && row["lastSeenAt"].is_string(), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_shutdown_is_announced_and_its_users_may_reconnect_elsewhere() {
    let server = TestServer::start().await;
    let process = server.start_process().await;
    let mut listening = ClusterListener::on(&server).await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (bob, eve) = (server.create_user("Bob").await, server.create_user("Eve").await);
    client.subscribe(&["presence"]).await;
    let mut open = Vec::new();
    for user in [&bob, &eve] {
        server.add_contact(user, &ann).await;
        open.push(process.connect(&user.token).await);
        assert_eq!(next_presence(&mut client).await, status(user, true));
    }
    process.signal(Signal::TERM);
    listening.wait_for("\n\"Goodbye\"").await;
    assert_eq!(process.wait_for_exit(TEST_TIMEOUT).await, Some(0));
    let _back = server.connect(&bob).await;
    assert_eq!(next_presence(&mut client).await, status(&eve, false), "and nothing of Bob before");
}

#[tokio::test(flavor = "multi_thread")]
async fn gap_of_a_disconnected_node_marks_its_sockets_behind() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = second.connect_user("Bob").await;
    let (_, mut stranger) = second.connect_user("Cleo").await;
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;
    let (to_bob, in_group) = (json!({ "receiverId": bob.id }), json!({ "groupId": group }));
    ann_client.send_content(&to_bob, "1").await;
    bob_client.expect_push("privateMessage").await;

    let mut listening = ClusterListener::on(&server).await;
    let mut sql = server.sql().await;
    server.allow_connections(false).await;
    sqlx::query(TERMINATE_LISTENERS).execute(&mut sql).await.expect("the connections are cut");
    send_until_confirmed(&mut ann_client, &to_bob, "2").await;
    send_until_confirmed(&mut ann_client, &in_group, "1").await;
    send_until_confirmed(&mut ann_client, &to_bob, "3: not delivered").await;
    listening.wait_for("3: not delivered").await;
    server.allow_connections(true).await;

    let mut behind =
        [bob_client.expect_push("behind").await["item"].take(), bob_client.expect_push("behind").await["item"].take()];
    behind.sort_by_key(|item| item["groupId"].as_i64());
    assert_eq!(behind, [json!({ "receiverId": ann.id, "seq": 3 }), json!({ "groupId": group, "seq": 1 })]);
    send_until_pushed(&mut ann_client, bob.id, &mut bob_client).await;
    assert_eq!(stranger.drain_push_types().await, [""; 0], "a user who missed nothing gets no push");
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_connection_reconnects_and_restores_presence() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = second.connect_user("Bob").await;
    let ask = json!({ "userIds": [ann.id, bob.id] });
    server.add_contact(&ann, &bob).await;
    for _ in 0..3 {
        sqlx::query(TERMINATE_LISTENERS).execute(&mut server.sql().await).await.expect("the connections are cut");
        send_until_pushed(&mut ann_client, bob.id, &mut bob_client).await;
        send_until_pushed(&mut bob_client, ann.id, &mut ann_client).await;
    }
    for client in [&mut ann_client, &mut bob_client] {
        let rows = client.call_ok("getOnlineInfo", ask.clone()).await["data"].take();
        assert!(rows[0]["isOnline"] == true && rows[1]["isOnline"] == true, "{rows}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_recovers_after_postgresql_is_killed() {
    let data = TempDir::new().expect("a folder");
    let first = Process::start(data.path()).await;
    let read = |name: &str| std::fs::read_to_string(data.path().join(name)).expect("a file");
    let socket = std::fs::canonicalize(data.path().join("postgres")).expect("the folder of the socket");
    let password = read("postgres.password");
    let port: u16 = read("postgres/postmaster.pid").lines().nth(3).expect("a line").parse().expect("a port");
    let url = format!("postgres://hark:{}@localhost:{port}/hark?host={}", password.trim(), socket.display());
    let second = Process::on(&url, &read("jwt-secret")).await;
    let (ann, ann_token) = first.create_user("ann").await;
    let (bob, bob_token) = first.create_user("bob").await;
    let (mut here, mut there) = (first.connect(&ann_token).await, second.connect(&bob_token).await);
    send_until_pushed(&mut here, bob, &mut there).await;

    let postmaster: i32 = read("postgres/postmaster.pid").lines().next().expect("a line").parse().expect("a pid");
    kill_process(Pid::from_raw(postmaster).expect("a pid"), Signal::KILL).expect("a child of our own process");
    send_until_pushed(&mut here, bob, &mut there).await;
    send_until_pushed(&mut there, ann, &mut here).await;
    for process in [&first, &second] {
        let url = format!("http://{}/readyz", process.address);
        eventually("it is ready again", async || reqwest::get(&url).await.expect("an answer").status() == 200).await;
    }
    second.signal(Signal::TERM);
    assert_eq!(second.wait_for_exit(TEST_TIMEOUT).await, Some(0));
    first.signal(Signal::TERM);
    assert_eq!(first.wait_for_exit(TEST_TIMEOUT).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_payloads_on_the_channel_are_ignored() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (_, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = second.connect_user("Bob").await;
    let mut sql = server.sql().await;
    let channel: String = sqlx::query_scalar(super::CHANNEL).fetch_one(&mut sql).await.expect("a name");
    let header = "hark3 00000000000000ff";
    let huge = format!("{header} 9 1/2 0\n{}", "[".repeat(7_900));
    for payload in [
        "",
        "x",
        "\n\n\n",
        "hark3 00000000000000ff 1 1/1 0\n{}",
        &format!("{header} 1 1/1 0\n"),
        &format!("{header} 2 1/1 0\n\"What is this?\"\n"),
        &format!("{header} 3 1/1 0\n{{\"Push\":{{}}}}\n"),
        &format!("{header} 4 2/2 0\nthe second of two"),
        &format!("{header} 18446744073709551615 1/18446744073709551615 -9223372036854775808\n"),
        &format!(
            "{header} 5 1/1 0\n{{\"PresenceSnapshot\":{{\"shard\":18446744073709551615,\"users\":[[1,true]]}}}}\n"
        ),
        &format!("{header} 6 1/1 0\n{{\"Typing\":{{\"user\":1,\"conversation\":{{\"Group\":1}},\"frames\":[99]}}}}\n"),
        &huge,
    ] {
        sqlx::query("select pg_notify($1, $2)")
            .bind(&channel)
            .bind(payload)
            .execute(&mut sql)
            .await
            .unwrap_or_else(|error| panic!("{payload}: {error}"));
    }
    ann_client.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
    assert_eq!(bob_client.expect_push("privateMessage").await["message"], "Hi");
}
