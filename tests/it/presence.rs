//! `setPresence`, `getOnlineInfo` and the pushes of who comes and goes: who is told, once, and who never is.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, steady};

const NOTHING: [&str; 0] = [];

/// The `item` of the next push of somebody's coming or going, without its moment.
async fn news(client: &mut Client) -> Value {
    steady(client.pushed("onlineInfo").await["item"].take())
}

fn online(user: &User, active: bool) -> Value {
    json!({ "userId": user.id, "isOnline": true, "active": active, "lastSeenAt": "[time]" })
}

fn gone(user: &User) -> Value {
    json!({ "userId": user.id, "isOnline": false, "active": false, "lastSeenAt": "[time]" })
}

/// Somebody who wants to know who is here.
async fn watcher(server: &TestServer, name: &str) -> (User, Client) {
    let (user, mut client) = server.client(name).await;
    client.subscribe(&["presence"]).await;
    (user, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_goes_with_five_sockets_does_so_once() {
    let server = TestServer::start().await;
    let (ann, mut contact) = watcher(&server, "Ann").await;
    let (_, mut opener) = watcher(&server, "Cleo").await;
    let (_, mut stranger) = watcher(&server, "Dan").await;
    let mut anns_silent = server.connect(&ann).await;
    let bob = server.user("Bob").await;
    server.contact(&bob, &ann).await;
    opener.done("openConversation", json!({ "receiverId": bob.id })).await;

    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(server.connect(&bob).await);
    }
    for client in [&mut contact, &mut opener] {
        assert_eq!(news(client).await, online(&bob, true));
    }
    for socket in sockets {
        socket.close().await;
    }
    for client in [&mut contact, &mut opener] {
        assert_eq!(news(client).await, gone(&bob), "the coming was told once");
    }
    // Once more is the fence: it is the next thing that they hear.
    let again = server.connect(&bob).await;
    for client in [&mut contact, &mut opener] {
        assert_eq!(news(client).await, online(&bob, true), "the going was told once");
    }
    assert_eq!((stranger.kinds_told().await, anns_silent.kinds_told().await), (vec![], vec![]));
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_within_five_seconds_was_never_gone() {
    let server = TestServer::start().await;
    let (ann, mut client) = watcher(&server, "Ann").await;
    let (bob, eve) = (server.user("Bob").await, server.user("Eve").await);
    server.contact(&bob, &ann).await;
    server.contact(&eve, &ann).await;
    let bobs = server.connect(&bob).await;
    assert_eq!(news(&mut client).await, online(&bob, true));
    let eves = server.connect(&eve).await;
    assert_eq!(news(&mut client).await, online(&eve, true));
    bobs.close().await;
    let _back = server.connect(&bob).await;
    // Eve leaves after Bob, and for good: what there is to say of him would come before her.
    eves.close().await;
    assert_eq!(news(&mut client).await, gone(&eve));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_in_the_background_on_one_of_two_sockets_is_no_news() {
    let server = TestServer::start().await;
    let (ann, mut client) = watcher(&server, "Ann").await;
    let bob = server.user("Bob").await;
    server.contact(&bob, &ann).await;
    server.contact(&ann, &bob).await;
    let (mut phone, mut desk) = (server.connect(&bob).await, server.connect(&bob).await);
    assert_eq!(news(&mut client).await, online(&bob, true));
    phone.done("setPresence", json!({ "active": false })).await;
    phone.done("setPresence", json!({ "active": false })).await;
    desk.done("setPresence", json!({ "active": true })).await;
    desk.done("setPresence", json!({ "active": false })).await;
    assert_eq!(news(&mut client).await, online(&bob, false));
    let rows = client.done("getOnlineInfo", json!({ "userIds": [bob.id] })).await["data"].take();
    assert_eq!(steady(rows), json!([online(&bob, false)]));
    desk.done("setPresence", json!({ "active": true })).await;
    assert_eq!(news(&mut client).await, online(&bob, true));
    // The one in front ends; the other one is still there.
    desk.close().await;
    assert_eq!(news(&mut client).await, online(&bob, false));
    phone.close().await;
    assert_eq!(news(&mut client).await, gone(&bob));
    for params in [json!({}), json!({ "active": "yes" }), json!({ "active": null }), json!({ "active": 1 })] {
        assert_eq!(client.refused("setPresence", params).await, "bad_params");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_know_are_told() {
    let server = TestServer::start().await;
    let bob = server.user("Bob").await;
    let (ann, mut fence) = watcher(&server, "Ann").await;
    let (blocked, mut blocked_client) = watcher(&server, "Cleo").await;
    let (_, mut closed) = watcher(&server, "Dan").await;
    let (admirer, mut admirer_client) = watcher(&server, "Eve").await;
    let (mate, mut mate_client) = watcher(&server, "Fay").await;
    server.contact(&bob, &ann).await;
    server.contact(&bob, &blocked).await;
    // Bob is on Eve's list, she is not on his.
    server.contact(&admirer, &bob).await;
    fence.new_group(&[bob.id, mate.id]).await;
    for client in [&mut blocked_client, &mut closed] {
        client.done("openConversation", json!({ "receiverId": bob.id })).await;
    }
    server.block(&bob, &blocked).await;
    closed.done("closeConversation", json!({ "receiverId": bob.id })).await;
    mate_client.pushed("addUserInGroup").await;
    mate_client.pushed("addUserInGroup").await;

    let bobs = server.connect(&bob).await;
    assert_eq!(news(&mut fence).await, online(&bob, true));
    bobs.close().await;
    assert_eq!(news(&mut fence).await, gone(&bob));
    for client in [&mut blocked_client, &mut closed, &mut admirer_client, &mut mate_client] {
        assert_eq!(client.kinds_told().await, NOTHING);
    }
    // They may ask, but for the blocked one, who sees what there is of somebody who was never here.
    let ask = json!({ "userIds": [bob.id] });
    for client in [&mut fence, &mut closed, &mut admirer_client, &mut mate_client] {
        assert_eq!(steady(client.done("getOnlineInfo", ask.clone()).await["data"].take()), json!([gone(&bob)]));
    }
    let never = json!({ "userId": bob.id, "isOnline": false, "active": false, "lastSeenAt": null });
    let _bobs = server.connect(&bob).await;
    assert_eq!(news(&mut fence).await, online(&bob, true));
    assert_eq!(blocked_client.done("getOnlineInfo", ask).await["data"], json!([never]));
}

#[tokio::test(flavor = "multi_thread")]
async fn online_info_is_for_people_one_has_to_do_with() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let [in_dialog, in_group, contact, admirer, stranger] =
        ["Bob", "Cleo", "Dan", "Eve", "Fay"].map(|name| server.user(name));
    let (in_dialog, in_group, contact) = (in_dialog.await, in_group.await, contact.await);
    let (admirer, stranger) = (admirer.await, stranger.await);
    client.say(&json!({ "receiverId": in_dialog.id }), "Hi").await;
    client.new_group(&[in_group.id]).await;
    server.contact(&ann, &contact).await;
    server.contact(&admirer, &ann).await;
    let _here = server.connect(&contact).await;
    let ids = [stranger.id, contact.id, in_group.id, 99, admirer.id, in_dialog.id, ann.id, contact.id];
    let rows = client.done("getOnlineInfo", json!({ "userIds": ids })).await["data"].take();
    let never = |user: &User| json!({ "userId": user.id, "isOnline": false, "active": false, "lastSeenAt": null });
    let expected = [online(&contact, true), never(&in_group), never(&admirer), never(&in_dialog), online(&ann, true)];
    assert_eq!(steady(rows), json!(expected), "in the order of the question, each once");
    assert_eq!(client.done("getOnlineInfo", json!({ "userIds": [] })).await["data"], json!([]));
    for ids in [json!(null), json!(2), json!(["2"]), json!([0]), json!(vec![1; 1001])] {
        assert_eq!(client.refused("getOnlineInfo", json!({ "userIds": ids })).await, "bad_params");
    }
    assert_eq!(client.refused("getOnlineInfo", json!({})).await, "bad_params");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_somebody_was_last_here_outlives_the_server() {
    let server = TestServer::start().await;
    let ann = server.user("Ann").await;
    let (bob, _bob_client) = server.client("Bob").await;
    server.contact(&ann, &bob).await;
    let before: String = sqlx::query_scalar("select to_json(now() at time zone 'utc') #>> '{}'")
        .fetch_one(&mut server.sql().await)
        .await
        .expect("a moment");
    let server = server.restarted().await;
    let mut client = server.connect(&ann).await;
    let mut row = client.done("getOnlineInfo", json!({ "userIds": [bob.id] })).await["data"][0].take();
    assert_eq!((&row["isOnline"], &row["active"]), (&json!(false), &json!(false)));
    let seen = row["lastSeenAt"].take();
    assert!(seen.as_str() >= Some(&before[..23]), "{seen} is not after {before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_on_any_node_is_enough() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut here) = watcher(&server, "Ann").await;
    let mut there = second.connect(&ann).await;
    there.subscribe(&["presence"]).await;
    let bob = server.user("Bob").await;
    server.contact(&bob, &ann).await;
    let one = second.connect(&bob).await;
    for client in [&mut here, &mut there] {
        assert_eq!(news(client).await, online(&bob, true));
    }
    let other = server.connect(&bob).await;
    one.close().await;
    other.close().await;
    for client in [&mut here, &mut there] {
        assert_eq!(news(client).await, gone(&bob), "once, with the last of them");
    }
}
