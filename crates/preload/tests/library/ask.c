/* Asks for a generic-netlink family, as OpenVPN does. Padding in the headers is not zero: nothing says that it is. */
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct request {
    struct nlmsghdr header;
    struct genlmsghdr command;
    struct nlattr name;
    char ovpn[8];
};

int main(void)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK }, own;
    socklen_t len = sizeof own;
    struct request request = {
        { sizeof request, GENL_ID_CTRL, NLM_F_REQUEST, 77, 0 },
        { CTRL_CMD_GETFAMILY, 1, 0 },
        { NLA_HDRLEN + 5, CTRL_ATTR_FAMILY_NAME },
        "ovpn",
    };
    char answer[256];
    struct iovec part = { &request, sizeof request };
    struct msghdr message;
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);

    if (fd < 0 || bind(fd, (struct sockaddr *)&(struct sockaddr_nl){ AF_NETLINK, 0, 4242, 0 }, sizeof own) != 0)
        return 1;
    if (getsockname(fd, (struct sockaddr *)&own, &len) != 0 || own.nl_pid != 4242)
        return 2;
    memset(&message, 0xff, sizeof message);
    message.msg_name = &kernel;
    message.msg_namelen = sizeof kernel;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = NULL;
    message.msg_controllen = 0;
    message.msg_flags = 0;
    if (sendmsg(fd, &message, 0) != sizeof request)
        return 3;
    part = (struct iovec){ answer, sizeof answer };
    if (recvmsg(fd, &message, 0) != 36 || ((struct nlmsghdr *)answer)->nlmsg_seq != 77)
        return 4;
    return close(fd);
}
