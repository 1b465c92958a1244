//! What the five systems get wrong, and this one does not. A fault whose test stands where its
//! subject is has its test there; the others are here.
//!
//! | fault | seeds | test |
//! |---|---|---|
//! | an apostrophe in a text | 002 | `seed_002::an_apostrophe_neither_breaks_the_insert_nor_ends_the_process`, `messages::every_character_comes_back_as_it_was_sent`, `people::a_search_takes_every_character_as_itself` |
//! | success answered before the insert | 002, 003 | `seed_002::success_is_not_answered_without_the_insert`, `faults::a_database_that_is_killed_comes_back_and_nothing_confirmed_is_lost` |
//! | history without an order | 001, 002, 003 | `seed_002::histories_have_an_order_and_pages_that_do_not_overlap` |
//! | pages that shift | 001, 002, 003 | `histories::pages_of_a_history_tile_it_and_before_stays_put`, `chat_lists::who_pages_while_messages_arrive_sees_every_conversation_once` |
//! | a dialog listed twice, once a direction | 002 | `seed_002::a_dialog_is_listed_once_whoever_wrote` |
//! | a group's id that nobody is told | 002 | `groups::a_new_group_says_its_id`, `groups::everybody_named_in_a_new_group_is_added_and_told` |
//! | database errors sent to clients | 002 | [`no_answer_holds_a_word_of_the_database`] |
//! | password hashes in the users' list, without a token | 002, 003 | `seed_002::the_list_of_users_needs_a_token_and_never_shows_a_hash`, `people::no_answer_holds_a_hash_or_anothers_address` |
//! | deleting an account takes the others' history along | 002 | `seed_002::a_deleted_account_takes_no_history_along`, `accounts::deletion::others_keep_the_dialog_under_another_name_and_cannot_write_to_it` |
//! | messages to everybody who is connected | 000, 004 | [`what_happens_between_others_reaches_nobody_else`] |
//! | the sender's identity taken from the client | 000, 001, 003 | [`nobody_acts_for_somebody_else`], `messages::the_sender_is_who_the_token_says`, `notifications::the_sender_is_who_the_token_says_whatever_the_data_say` |
//! | any room joined without being a member | 000, 001, 003, 004 | `conversations::conversations_of_nobody_and_of_others_are_refused`, `groups::any_member_adds_and_every_other_member_is_told` |
//! | any chat read without being a member | 000, 001, 003, 004 | `histories::who_may_read_what`, `http_conversations::who_may_not_is_refused_as_over_a_socket`, `search::nobody_finds_what_they_may_not_read`, `sync::of_conversations_of_others_nobody_hears`, `replies::what_i_may_not_read_i_cannot_reply_to` |
//! | one device in the background makes all of them offline | 001 | `presence::an_app_in_the_background_on_one_of_two_sockets_is_no_news` |
//! | two rooms for one pair on a race | 000, 001 | `conversations::both_sides_and_two_sockets_start_one_dialog` |
//! | notifications lost for who is offline | 000, 003 | `notifications::who_was_away_finds_them_all_and_only_who_asked_is_pushed_them`, `seed_003::its_socket_hears_and_says_all_events` |

use serde_json::{Value, json};

use crate::support::{TestServer, steady};

/// A sentence that says nothing of what is behind the server.
fn assert_discreet(sentence: &str) {
    let lower = sentence.to_lowercase();
    for word in ["sql", "postgres", "relation", "table", "column", "constraint", "exist", "select", ".rs"] {
        assert!(!lower.contains(word), "{word} in {sentence}");
    }
    assert!(lower.contains("request id"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_holds_a_word_of_the_database() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let group = client.new_group(&[bob.id]).await;
    let to_bob = json!({ "receiverId": bob.id });
    client.say(&to_bob, "Hi").await;
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
async fn what_happens_between_others_reaches_nobody_else() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cleo = server.user("Cleo").await;
    let eve = server.user("Eve").await;
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
        ann_client.done("openConversation", target.clone()).await;
        let message = ann_client.say(target, "between us").await;
        ann_client.done("typing", with("isTyping", json!(true))).await;
        ann_client.done("typing", with("isTyping", json!(false))).await;
        ann_client.done("replyMessage", json!({ "messageId": message, "content": "and more" })).await;
        ann_client.done("editMessage", json!({ "messageId": message, "content": "between the two of us" })).await;
        bob_client.done("reactToMessage", json!({ "messageId": message, "reaction": "👍" })).await;
        ann_client.done("deleteMessage", json!({ "messageId": message })).await;
    }
    let path = format!("/api/v1/conversations/groups/{group}/messages");
    server.as_user(&ann.token, "POST", &path, json!({ "content": "over HTTP" })).await.ok(201);
    for target in [&to_ann, &in_group] {
        for kind in ["deliveredMessages", "readMessages", "closeConversation"] {
            bob_client.done(kind, target.clone()).await;
        }
    }
    let of_cleo = json!({ "groupId": group, "userId": cleo.id });
    for kind in ["addUserInGroup", "addGroupAdmin", "removeGroupAdmin", "removeUserFromGroup"] {
        ann_client.done(kind, of_cleo.clone()).await;
    }
    ann_client.done("renameGroup", json!({ "groupId": group, "groupName": "Ours" })).await;
    bob_client.done("leaveGroup", in_group.clone()).await;
    ann_client.done("dropGroup", in_group).await;
    for kind in ["addContact", "removeContact", "blockUser", "unblockUser"] {
        ann_client.done(kind, json!({ "userId": bob.id })).await;
    }
    ann_client.done("sendNotification", json!({ "userId": bob.id, "kind": "like" })).await;
    for active in [false, true] {
        ann_client.done("setPresence", json!({ "active": active })).await;
    }
    ann_client.done("removeConversation", to_bob).await;

    // The first thing that she hears is the first that is for her, on either node.
    ann_client.say(&json!({ "receiverId": eve.id }), "for you").await;
    for outsider in [&mut here, &mut there] {
        assert_eq!(outsider.pushed("privateMessage").await["message"], "for you");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_for_somebody_else() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    let in_group = json!({ "groupId": group });
    cleo_client.done("openConversation", in_group.clone()).await;
    cleo_client.subscribe(&["typing", "receipts"]).await;
    for client in [&mut ann_client, &mut cleo_client] {
        client.forget().await;
    }
    // Bob says that he is Ann, in every way that the five systems believe.
    let forged = |mut params: Value| {
        for key in ["userId", "senderId", "sender_id", "user", "user_id", "from", "fromId"] {
            params[key] = json!(ann.id);
        }
        for key in ["senderName", "author", "username"] {
            params[key] = json!("Ann");
        }
        params
    };

    bob_client.done("messageInGroup", forged(json!({ "groupId": group, "content": "one" }))).await;
    let first = cleo_client.pushed("messageInGroup").await;
    let reply = forged(json!({ "messageId": first["item"]["messageId"], "content": "two" }));
    bob_client.done("replyMessage", reply).await;
    let path = format!("/api/v1/conversations/groups/{group}/messages");
    server.as_user(&bob.token, "POST", &path, forged(json!({ "content": "three" }))).await.ok(201);
    let (second, third) = (cleo_client.pushed("messageInGroup").await, cleo_client.pushed("messageInGroup").await);
    for push in [first, second, third] {
        let item = &push["item"];
        assert_eq!(
            (&push["senderName"], &item["senderName"], &item["senderId"]),
            (&json!("Bob"), &json!("Bob"), &json!(bob.id))
        );
    }
    for is_typing in [true, false] {
        bob_client.done("typing", forged(json!({ "groupId": group, "isTyping": is_typing }))).await;
        let item = cleo_client.pushed("typing").await["item"].take();
        assert_eq!(item, json!({ "groupId": group, "userId": bob.id, "isTyping": is_typing }));
    }
    bob_client.done("readMessages", forged(in_group.clone())).await;
    let item = steady(cleo_client.pushed("readMessages").await["item"].take());
    assert_eq!(item, json!({ "groupId": group, "userId": bob.id, "seq": 3, "at": "[time]" }));
    assert_eq!(ann_client.done("listConversations", json!({})).await["data"][0]["unreadCount"], 3, "she read nothing");
    bob_client.done("setPresence", forged(json!({ "active": false }))).await;
    let rows = cleo_client.done("getOnlineInfo", json!({ "userIds": [ann.id, bob.id] })).await["data"].take();
    assert_eq!((&rows[0]["active"], &rows[1]["active"]), (&json!(true), &json!(false)));
    bob_client.done("leaveGroup", forged(in_group.clone())).await;
    assert_eq!(cleo_client.pushed("leaveGroup").await["message"], "User Bob has left the group.");
    ann_client.say(&in_group, "I am still here").await;
    assert_eq!(cleo_client.pushed("messageInGroup").await["senderName"], "Ann");
}
