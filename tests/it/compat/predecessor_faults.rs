//! Faults of the five predecessors, which Hark must not have. The test of a fault is in the file of its
//! subject, or else here.
//!
//! | fault | predecessor | test |
//! |---|---|---|
//! | an apostrophe in a text | first_protocol | `compat::first_protocol::apostrophe_neither_breaks_the_insert_nor_ends_the_process`, `frames::messages::private_message_keeps_every_character`, `frames::users::search_users_takes_every_character_literally` |
//! | success reported before the insert | first_protocol, dating_site | `compat::first_protocol::success_is_not_reported_without_the_insert`, `store::outages::killed_database_loses_nothing_that_was_confirmed` |
//! | history without an order | private_chat, first_protocol, dating_site | `compat::first_protocol::history_has_an_order_and_pages_that_do_not_overlap` |
//! | pages that shift | private_chat, first_protocol, dating_site | `frames::history::getlatest_message_dialog_pages_cover_the_history_and_before_stays_stable`, `frames::chat_list::list_conversations_and_list_last_message_pages_show_each_conversation_once_while_messages_arrive` |
//! | a dialog listed twice, once for each direction | first_protocol | `compat::first_protocol::dialog_is_listed_once_whoever_wrote` |
//! | a group id that nobody is sent | first_protocol | `frames::groups::new_group_returns_its_id`, `frames::groups::new_group_adds_and_notifies_the_given_users` |
//! | database errors sent to clients | first_protocol | `compat::predecessor_faults::responses_reveal_nothing_of_the_database` |
//! | password hashes in the list of users, without a token | first_protocol, dating_site | `compat::first_protocol::list_of_users_needs_a_token_and_never_shows_a_hash`, `frames::users::list_users_and_search_users_show_no_hash_and_no_email_of_others` |
//! | account deletion deletes the history of others | first_protocol | `compat::first_protocol::deleted_account_leaves_the_history_of_others`, `http::accounts::deletion::delete_me_keeps_the_dialog_for_the_other_side_which_cannot_write_to_it` |
//! | messages sent to every connected socket | chat_rooms, event_chat | `compat::predecessor_faults::pushes_reach_participants_only` |
//! | the sender taken from the client | chat_rooms, private_chat, dating_site | `compat::predecessor_faults::sender_fields_of_a_client_are_ignored`, `frames::messages::private_message_takes_its_sender_from_the_token`, `frames::notifications::send_notification_takes_its_sender_from_the_token` |
//! | rooms joined without being a member | chat_rooms, private_chat, dating_site, event_chat | `frames::conversations::open_get_remove_and_mark_spam_refuse_unknown_conversations_and_those_of_others`, `frames::groups::add_user_in_group_by_any_member_notifies_every_other_member` |
//! | chats read without being a member | chat_rooms, private_chat, dating_site, event_chat | `frames::history::getlatest_message_dialog_and_group_are_for_members_only`, `http::conversations::post_message_is_refused_as_over_a_socket`, `frames::search::search_messages_finds_only_what_the_user_may_read`, `frames::sync::sync_returns_nothing_of_conversations_of_others`, `frames::replies::reply_message_to_an_unreadable_message_is_refused` |
//! | one device in the background makes all of them offline | private_chat | `frames::presence::set_presence_of_one_of_two_sockets_does_not_make_the_user_inactive` |
//! | two rooms for one pair after a race | chat_rooms, private_chat | `frames::conversations::open_conversation_from_both_sides_at_once_creates_one_dialog` |
//! | notifications lost for offline users | chat_rooms, dating_site | `frames::notifications::list_notifications_returns_all_to_an_offline_user_and_only_subscribers_get_pushes`, `compat::dating_site::socket_events_of_the_documentation_work` |

use serde_json::{Value, json};

use crate::support::{TestServer, steady};

/// Asserts that a sentence reveals nothing of what is behind the server.
fn assert_discreet(sentence: &str) {
    let lower = sentence.to_lowercase();
    for word in ["sql", "postgres", "relation", "table", "column", "constraint", "exist", "select", ".rs"] {
        assert!(!lower.contains(word), "{word} in {sentence}");
    }
    assert!(lower.contains("request id"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_reveal_nothing_of_the_database() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let group = client.new_group(&[bob.id]).await;
    let to_bob = json!({ "receiverId": bob.id });
    client.send_content(&to_bob, "Hi").await;
    let mut sql = server.sql().await;
    for statement in ["drop table messages cascade", "drop table contacts cascade", "drop table notifications cascade"]
    {
        sqlx::query(statement).execute(&mut sql).await.expect("the table is gone");
    }
    for (kind, params) in [
        ("privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })),
        ("messageInGroup", json!({ "groupId": group, "content": "Hi" })),
        ("getlatestMessageDialog", to_bob.clone()),
        ("getlatestMessageGroup", json!({ "groupId": group })),
        ("listLastMessage", json!({})),
        ("listConversations", json!({})),
        ("addContact", json!({ "userId": bob.id })),
        ("listContacts", json!({})),
        ("sendNotification", json!({ "userId": bob.id, "kind": "like" })),
        ("listNotifications", json!({})),
    ] {
        let error = client.call(kind, params).await;
        let sentence = error["message"].as_str().unwrap_or_else(|| panic!("{kind}: {error}"));
        assert_discreet(sentence);
        let envelope =
            json!({ "error": true, "type": kind, "message": sentence, "code": "internal", "id": error["id"] });
        assert_eq!(error, envelope);
    }
    let messages = format!("/api/v1/conversations/users/{}/messages", bob.id);
    for (method, path, body) in [
        ("GET", "/api/v1/conversations", Value::Null),
        ("GET", &messages, Value::Null),
        ("POST", &messages, json!({ "content": "Hi" })),
    ] {
        let answer = server.as_user(&ann.token, method, path, body).await;
        assert_discreet(&answer.refused(500, "internal"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_reach_participants_only() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    let eve = server.create_user("Eve").await;
    let (mut here, mut there) = (server.connect(&eve).await, second.connect(&eve).await);
    for outsider in [&mut here, &mut there] {
        outsider.subscribe(&["all"]).await;
    }

    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let group = ann_client.new_group(&[bob.id]).await;
    let in_group = json!({ "groupId": group });
    for target in [&to_bob, &in_group] {
        let with = |key: &str, value: Value| {
            let mut params = target.clone();
            params[key] = value;
            params
        };
        ann_client.call_ok("openConversation", target.clone()).await;
        let message = ann_client.send_content(target, "between us").await;
        ann_client.call_ok("typing", with("isTyping", json!(true))).await;
        ann_client.call_ok("typing", with("isTyping", json!(false))).await;
        ann_client.call_ok("replyMessage", json!({ "messageId": message, "content": "and more" })).await;
        ann_client.call_ok("editMessage", json!({ "messageId": message, "content": "between the two of us" })).await;
        bob_client.call_ok("reactToMessage", json!({ "messageId": message, "reaction": "👍" })).await;
        ann_client.call_ok("deleteMessage", json!({ "messageId": message })).await;
    }
    let path = format!("/api/v1/conversations/groups/{group}/messages");
    server.as_user(&ann.token, "POST", &path, json!({ "content": "over HTTP" })).await.ok(201);
    for target in [&to_ann, &in_group] {
        for kind in ["deliveredMessages", "readMessages", "closeConversation"] {
            bob_client.call_ok(kind, target.clone()).await;
        }
    }
    let of_cleo = json!({ "groupId": group, "userId": cleo.id });
    for kind in ["addUserInGroup", "addGroupAdmin", "removeGroupAdmin", "removeUserFromGroup"] {
        ann_client.call_ok(kind, of_cleo.clone()).await;
    }
    ann_client.call_ok("renameGroup", json!({ "groupId": group, "groupName": "Ours" })).await;
    bob_client.call_ok("leaveGroup", in_group.clone()).await;
    ann_client.call_ok("dropGroup", in_group).await;
    for kind in ["addContact", "removeContact", "blockUser", "unblockUser"] {
        ann_client.call_ok(kind, json!({ "userId": bob.id })).await;
    }
    ann_client.call_ok("sendNotification", json!({ "userId": bob.id, "kind": "like" })).await;
    for active in [false, true] {
        ann_client.call_ok("setPresence", json!({ "active": active })).await;
    }
    ann_client.call_ok("removeConversation", to_bob).await;

    // The first push that Eve gets is the first one that is for her, on either node.
    ann_client.send_content(&json!({ "receiverId": eve.id }), "for you").await;
    for outsider in [&mut here, &mut there] {
        assert_eq!(outsider.expect_push("privateMessage").await["message"], "for you");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sender_fields_of_a_client_are_ignored() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    let in_group = json!({ "groupId": group });
    cleo_client.call_ok("openConversation", in_group.clone()).await;
    cleo_client.subscribe(&["typing", "receipts"]).await;
    for client in [&mut ann_client, &mut cleo_client] {
        client.discard_pushes().await;
    }
    // Bob claims to be Ann in every field that the predecessors trusted.
    let forged = |mut params: Value| {
        for key in ["userId", "senderId", "sender_id", "user", "user_id", "from", "fromId"] {
            params[key] = json!(ann.id);
        }
        for key in ["senderName", "author", "username"] {
            params[key] = json!("Ann");
        }
        params
    };

    bob_client.call_ok("messageInGroup", forged(json!({ "groupId": group, "content": "one" }))).await;
    let first = cleo_client.expect_push("messageInGroup").await;
    let reply = forged(json!({ "messageId": first["item"]["messageId"], "content": "two" }));
    bob_client.call_ok("replyMessage", reply).await;
    let path = format!("/api/v1/conversations/groups/{group}/messages");
    server.as_user(&bob.token, "POST", &path, forged(json!({ "content": "three" }))).await.ok(201);
    let (second, third) =
        (cleo_client.expect_push("messageInGroup").await, cleo_client.expect_push("messageInGroup").await);
    for push in [first, second, third] {
        let item = &push["item"];
        assert_eq!(
            (&push["senderName"], &item["senderName"], &item["senderId"]),
            (&json!("Bob"), &json!("Bob"), &json!(bob.id))
        );
    }
    for is_typing in [true, false] {
        bob_client.call_ok("typing", forged(json!({ "groupId": group, "isTyping": is_typing }))).await;
        let item = cleo_client.expect_push("typing").await["item"].take();
        assert_eq!(item, json!({ "groupId": group, "userId": bob.id, "isTyping": is_typing }));
    }
    bob_client.call_ok("readMessages", forged(in_group.clone())).await;
    let item = steady(cleo_client.expect_push("readMessages").await["item"].take());
    assert_eq!(item, json!({ "groupId": group, "userId": bob.id, "seq": 3, "at": "[time]" }));
    assert_eq!(
        ann_client.call_ok("listConversations", json!({})).await["data"][0]["unreadCount"],
        3,
        "she read nothing"
    );
    bob_client.call_ok("setPresence", forged(json!({ "active": false }))).await;
    let rows = cleo_client.call_ok("getOnlineInfo", json!({ "userIds": [ann.id, bob.id] })).await["data"].take();
    assert_eq!((&rows[0]["active"], &rows[1]["active"]), (&json!(true), &json!(false)));
    bob_client.call_ok("leaveGroup", forged(in_group.clone())).await;
    assert_eq!(cleo_client.expect_push("leaveGroup").await["message"], "User Bob has left the group.");
    ann_client.send_content(&in_group, "I am still here").await;
    assert_eq!(cleo_client.expect_push("messageInGroup").await["senderName"], "Ann");
}
