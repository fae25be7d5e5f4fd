/* Connects, by TCP or UDP, to an IPv4 address and port, without the C library's resolver; prints the number of the error. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **words) {
    if (count != 4) {
        return 2;
    }
    int kind = strcmp(words[1], "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(words[3]))};
    inet_pton(AF_INET, words[2], &to.sin_addr);
    int socket_ = socket(AF_INET, kind, 0);
    errno = 0;
    connect(socket_, (struct sockaddr *)&to, sizeof to);
    printf("%d\n", errno);
    return 0;
}
