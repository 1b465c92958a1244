//! Groups: members who join and leave, and what admins do.

use serde_json::json;

use super::super::state::{Conversation, Kind, Member, Model};
use super::{Call, Reply, To, item, nothing};

const ADDED_ADMIN: (&str, &str) = ("addGroupAdmin", "is now an admin of the group.");

impl Model {
    pub(super) fn new_group(&mut self, call: &mut Call, users: &[usize]) -> Reply {
        if users.iter().any(|user| *user >= self.users.len()) {
            return Err("not_found");
        }
        let mut added: Vec<usize> = users.iter().copied().filter(|user| *user != call.me).collect();
        added.sort_unstable();
        added.dedup();
        if added.iter().any(|user| self.blocks.contains(&(*user, call.me))) {
            return Err("blocked");
        }
        let joined = self.now;
        let creator = Member { user: call.me, joined, is_admin: true, ..Member::default() };
        let others = added.iter().map(|user| Member { user: *user, joined, ..Member::default() });
        let members = std::iter::once(creator).chain(others).collect();
        let kind = Kind::Group { id: call.given, name: "Tea".to_owned() };
        self.conversations.push(Conversation { kind, members, last_active: joined });
        let group = self.conversations.len() - 1;
        let reply = item(json!({ "groupId": call.given, "groupName": "Tea" }));
        self.push(call, &[call.me], To::Subscribers, "newGroup", &reply);
        for user in added {
            self.push_member_notice(call, group, user, To::All, ("addUserInGroup", "added in group."));
        }
        Ok(reply)
    }

    pub(super) fn add_user(&mut self, call: &mut Call, nth: usize, user: usize) -> Reply {
        let group = self.group_for(call.me, nth)?;
        if user >= self.users.len() {
            return Err("not_found");
        }
        if self.conversations[group].member(user).is_some() {
            return Err("already_a_member");
        }
        if self.blocks.contains(&(user, call.me)) {
            return Err("blocked");
        }
        // Earlier messages can be read, and are not unread.
        let last = self.last_seq(group);
        let member = Member { user, joined: self.now, read: last, delivered: last, ..Member::default() };
        self.conversations[group].members.push(member);
        self.push_member_notice(call, group, user, To::All, ("addUserInGroup", "added in group."));
        Ok(nothing())
    }

    pub(super) fn leave(&mut self, call: &mut Call, nth: usize) -> Reply {
        let group = self.group_for(call.me, nth)?;
        self.push_member_notice(call, group, call.me, To::All, ("leaveGroup", "has left the group."));
        self.remove_member(group, call.me);
        let members = &mut self.conversations[group].members;
        if !members.iter().any(|member| member.is_admin)
            && let Some(next) = members.iter_mut().min_by_key(|member| (member.joined, member.user))
        {
            next.is_admin = true;
            let next = next.user;
            self.push_member_notice(call, group, next, To::Subscribers, ADDED_ADMIN);
        }
        Ok(nothing())
    }

    pub(super) fn remove_user(&mut self, call: &mut Call, nth: usize, user: usize) -> Reply {
        let group = self.administered(call.me, nth, user)?;
        self.keeps_an_admin(group, user)?;
        let notice = ("removeUserFromGroup", "has been removed from the group.");
        self.push_member_notice(call, group, user, To::Subscribers, notice);
        self.remove_member(group, user);
        Ok(nothing())
    }

    pub(super) fn set_admin(&mut self, call: &mut Call, nth: usize, user: usize, is_admin: bool) -> Reply {
        let group = self.administered(call.me, nth, user)?;
        if self.membership(user, group).is_admin == is_admin {
            return Ok(nothing());
        }
        self.keeps_an_admin(group, user)?;
        self.membership(user, group).is_admin = is_admin;
        let notice = if is_admin { ADDED_ADMIN } else { ("removeGroupAdmin", "is no longer an admin of the group.") };
        self.push_member_notice(call, group, user, To::Subscribers, notice);
        Ok(nothing())
    }

    pub(super) fn rename(&mut self, call: &mut Call, nth: usize, new_name: &str) -> Reply {
        let group = self.administered(call.me, nth, call.me)?;
        let Kind::Group { name, .. } = &mut self.conversations[group].kind else { unreachable!("a group") };
        if name != new_name {
            new_name.clone_into(name);
            self.push_member_notice(call, group, call.me, To::Subscribers, ("renameGroup", "has renamed the group."));
        }
        Ok(nothing())
    }

    /// Removes all members, which ends the group.
    pub(super) fn drop_group(&mut self, call: &mut Call, nth: usize) -> Reply {
        let group = self.administered(call.me, nth, call.me)?;
        let Kind::Group { id, name } = &self.conversations[group].kind else { unreachable!("a group") };
        let mut body = item(json!({ "groupId": id, "groupName": name }));
        body["message"] = json!(format!("User {} has ended the group.", self.users[call.me].name));
        self.push(call, &self.conversations[group].users(), To::Subscribers, "dropGroup", &body);
        for user in self.conversations[group].users() {
            self.remove_member(group, user);
        }
        Ok(nothing())
    }

    /// Returns a group for one of its admins, about one of its members.
    fn administered(&self, me: usize, nth: usize, user: usize) -> Result<usize, &'static str> {
        let group = self.group_for(me, nth)?;
        let conversation = &self.conversations[group];
        if !conversation.member(me).is_some_and(|member| member.is_admin) {
            return Err("not_admin");
        }
        if user >= self.users.len() {
            return Err("not_found");
        }
        conversation.member(user).map(|_| group).ok_or("not_a_member")
    }

    /// Returns whether there would be an admin without `user`.
    fn keeps_an_admin(&self, group: usize, user: usize) -> Result<(), &'static str> {
        let mut others = self.conversations[group].members.iter().filter(|member| member.user != user);
        if others.any(|member| member.is_admin) { Ok(()) } else { Err("conflict") }
    }

    fn remove_member(&mut self, group: usize, user: usize) {
        self.conversations[group].members.retain(|member| member.user != user);
        for socket in self.sockets.iter_mut().filter(|socket| socket.user == user) {
            socket.open.remove(&group);
        }
    }

    /// Pushes a notice about a user who is or was in a group.
    fn push_member_notice(&self, call: &mut Call, group: usize, user: usize, to: To, (kind, notice): (&str, &str)) {
        let Kind::Group { id, name } = &self.conversations[group].kind else { unreachable!("a group") };
        let user = &self.users[user];
        let mut body = item(json!({
            "groupId": id, "groupName": name, "userId": user.id, "userName": user.name,
        }));
        body["message"] = json!(format!("User {} {notice}", user.name));
        if ["addUserInGroup", "leaveGroup"].contains(&kind) {
            body["senderName"] = json!(self.users[call.me].name);
        }
        self.push(call, &self.conversations[group].users(), to, kind, &body);
    }
}
