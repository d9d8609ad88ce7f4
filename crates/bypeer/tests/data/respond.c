/* Answers a request once it has its head. cc -g -o respond respond.c; ./respond 8125 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char body[600000];

static void read_head(int connection) {
    char head[4096];
    size_t length = 0;
    while (length < sizeof head - 1) {
        ssize_t got = read(connection, head + length, sizeof head - 1 - length);
        if (got <= 0)
            return;
        head[length += got] = 0;
        if (strstr(head, "\r\n\r\n"))
            return;
    }
}

static void respond(int connection) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n";
    write(connection, head, sizeof head - 1);
    for (size_t sent = 0; sent < sizeof body;) {
        ssize_t more = write(connection, body + sent, sizeof body - sent);
        if (more <= 0)
            break;
        sent += more;
    }
    close(connection);
}

int main(int count, char **arguments) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(count > 1 ? atoi(arguments[1]) : 8125);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        return 1;
    for (;;) {
        int connection = accept(listener, 0, 0);
        if (connection < 0)
            return 1;
        read_head(connection);
        usleep(50000); /* some work */
        respond(connection);
    }
}
