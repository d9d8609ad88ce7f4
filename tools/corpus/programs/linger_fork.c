#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* linger_fork HOST PORT MODE : forks a child a connection */
int main(int c, char **v) {
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = {0};
    signal(SIGCHLD, SIG_IGN);
    a.sin_family = AF_INET;
    a.sin_port = htons(atoi(v[2]));
    inet_pton(AF_INET, v[1], &a.sin_addr);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, 4);
    bind(s, (void *)&a, sizeof a);
    listen(s, 64);
    for (;;) {
        int k = accept(s, 0, 0);
        if (fork()) {
            close(k);
            continue;
        }
        char b[65536];
        struct linger l = {1, 0};
        int n = read(k, b, sizeof b);
        if (n <= 0)
            _exit(0);
        b[n < 65535 ? n : 65535] = 0;
        if (!strncmp(b, "GET /none", 9)) {
            usleep(50000);
        } else if (!strncmp(b, "GET /ok", 7)) {
            write(k, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n", 41);
            close(k);
            _exit(0);
        } else if (!strncmp(b, "GET /disconnect", 15)) {
            struct sockaddr u = {0};
            u.sa_family = AF_UNSPEC;
            write(k, "HTTP/1.0 200 OK\r\nContent-Length: 30000\r\n\r\nok\n", 45);
            usleep(50000);
            connect(k, &u, sizeof u);
            sleep(1);
            _exit(0);
        } else {
            write(k, "HTTP/1.0 200 OK\r\nContent-Length: 9000\r\n\r\n", 41);
            memset(b, 'c', 3000);
            write(k, b, 3000);
            usleep(60000);
        }
        setsockopt(k, SOL_SOCKET, SO_LINGER, &l, sizeof l);
        close(k);
        _exit(0);
    }
}
